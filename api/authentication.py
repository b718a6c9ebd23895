"""`Authorization: Bearer …`."""

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from access.models import ApiToken, User
from access.services import token_digest

REMEMBER_USE_EVERY = timedelta(minutes=1)  # a script's many requests do not each write


class TokenAuthentication(BaseAuthentication):
    """A token counts while it exists and its user is active; both are asked at each request."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        scheme, _space, text = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        token = self._find(text.strip())
        if token is None or not token.user.is_active:
            raise AuthenticationFailed(_("This token is not valid, or it was revoked."))
        _remember_use(token)
        return token.user, token

    def _find(self, text: bytes) -> ApiToken | None:
        digest = token_digest(text.decode("ascii", errors="replace"))
        return ApiToken.objects.select_related("user").filter(digest=digest).first()

    def authenticate_header(self, _request: Request) -> str:
        return 'Bearer realm="Guesthouse"'


def _remember_use(token: ApiToken) -> None:
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > REMEMBER_USE_EVERY:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - REMEMBER_USE_EVERY)
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
