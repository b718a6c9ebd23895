"""`manage rotate_keys`: a new key for stored credentials; every credential is encrypted anew, and the old keys go."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from config import data
from core.crypto import UnreadableSecret
from hosts.services import COMMAND_LINE, encrypt_credentials_anew


class Command(BaseCommand):
    help = (
        "Make a new key for stored credentials, encrypt every credential with it and forget the older keys. The "
        "console must be stopped. Interrupted, it leaves both keys in place: run it again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        instance = data.load()
        if instance is None:
            raise CommandError(_("There is no installation in this data directory yet."))
        try:
            with data.lock(instance.data_dir):
                count = self.rotate(instance)
        except data.DataError as error:
            raise CommandError(str(error)) from error
        except UnreadableSecret as error:
            raise CommandError(
                _(
                    "A stored credential was encrypted with a key that is not here. Nothing was changed; put %(file)s "
                    "back from a backup."
                )
                % {"file": instance.file}
            ) from error
        self.stdout.write(_("A new key is in place; credentials encrypted anew: %(count)d.") % {"count": count})

    @staticmethod
    def rotate(instance: data.Instance) -> int:
        keys = (data.new_key(), *instance.fernet_keys)
        data.write_keys(instance, keys)  # first, so that what is written next can always be read
        settings.CREDENTIAL_KEYS = list(keys)
        count = encrypt_credentials_anew(by=COMMAND_LINE)
        data.write_keys(instance, keys[:1])
        return count
