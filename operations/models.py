"""Jobs: everything that takes time, in one table whose rows are the truth."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from access.models import RestrictedQuerySet
from core.models import Row


class JobState(models.TextChoices):
    """Each state says what comes next; `operations.states` holds the allowed changes."""

    QUEUED = "queued", _("queued")  # → running | checking | an end
    RUNNING = "running", _("running")  # → cancelling | an end
    CHECKING = "checking", _("checking")  # migration: asks both hosts whether it can → preparing | failed | cancelling
    PREPARING = "preparing", _("preparing")  # migration: from here on the hypervisor may have been asked → copying …
    COPYING = "copying", _("copying")  # migration: memory is on its way → switching | verifying | cancelling
    SWITCHING = "switching", _("switching")  # migration: the guest is paused for the last pages → verifying
    VERIFYING = "verifying", _("verifying")  # migration: both hosts are asked where the guest is → any end
    CANCELLING = "cancelling", _("cancelling")  # a person asked to stop → verifying | an end
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")
    NEEDS_ATTENTION = "needs_attention", _("needs attention")


ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.NEEDS_ATTENTION)


class Job(Row):
    """One act that takes time, on one object named by (kind, id).

    `token` fences: a worker writes only while the token it claimed with is still the row's. `exclusive` names what
    only one open job may hold, such as `guest:<id>`.
    """

    kind = models.CharField(max_length=32)
    state = models.CharField(max_length=16, choices=JobState.choices, default=JobState.QUEUED)
    target_kind = models.CharField(max_length=32)
    target_id = models.CharField(max_length=64)
    target_name = models.CharField(max_length=255)
    exclusive = models.CharField(max_length=100, blank=True)
    parameters = models.JSONField(default=dict)
    progress = models.JSONField(default=dict)
    checkpoint = models.JSONField(default=dict)  # what its worker noted before an act, for whoever takes over
    message = models.TextField(blank=True)  # one sentence: how it ended or what it waits for
    submitted_by_id = models.CharField(max_length=64, blank=True)
    submitted_by_name = models.CharField(max_length=150)
    submitted_at = models.DateTimeField(db_index=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.CharField(max_length=150, blank=True)
    owner = models.CharField(max_length=100, blank=True)
    token = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)  # last message to the workers
    crashes = models.PositiveSmallIntegerField(default=0)  # how often its worker failed in an unexpected way

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["-submitted_at", "-id"]
        indexes = [
            models.Index(fields=["-submitted_at", "-id"]),
            models.Index(fields=["target_kind", "target_id", "-submitted_at"]),
            models.Index(fields=["lease_until"], condition=~models.Q(state__in=ENDED), name="operations_open_jobs"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["exclusive"],
                condition=~models.Q(state__in=ENDED) & ~models.Q(exclusive=""),
                name="operations_one_open_job_per_object",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.target_name}: {self.state}"

    @property
    def is_open(self) -> bool:
        return self.state not in ENDED


class JobStep(Row):
    """One line of a job's story, written in the same transaction as the change it tells."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="steps")
    at = models.DateTimeField()
    state = models.CharField(max_length=16, choices=JobState.choices)
    message = models.TextField(blank=True)

    class Meta:
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.state} {self.message}"
