"""The audit log: who did what to what, when. Rows are only ever added."""

from typing import Any, NoReturn

from django.db import models

from core.models import Row


class AuditQuerySet(models.QuerySet["AuditRow"]):
    """Reads and adds; the rest of the program cannot change or delete rows by mistake."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("Audit rows are never changed.")

    def delete(self) -> NoReturn:
        raise TypeError("Audit rows are never deleted.")


class AuditRow(Row):
    """One act. The actor's and the object's names are copied so that they outlive both."""

    at = models.DateTimeField()
    actor_id = models.CharField(max_length=64, blank=True)
    actor_name = models.CharField(max_length=150)
    action = models.CharField(max_length=64, db_index=True)
    target_kind = models.CharField(max_length=32, blank=True)
    target_id = models.CharField(max_length=64, blank=True)
    target_name = models.CharField(max_length=255, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    detail = models.JSONField(default=dict)

    objects = AuditQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["-at", "-id"]),
            models.Index(fields=["actor_name", "-at"]),
            models.Index(fields=["target_kind", "target_id", "-at"]),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_name} {self.action} {self.target_name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Audit rows are never changed.")
        super().save(*args, **kwargs)

    def delete(self, *_args: Any, **_kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError("Audit rows are never deleted.")
