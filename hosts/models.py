"""Datacenters, sources and hosts."""

from django.db import models
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from access.models import RestrictedQuerySet
from core.crypto import decrypt
from core.models import NameField, Row, by_name_index
from drivers.types import Endpoint, Hypervisor, Transport


class Datacenter(Row):
    """A trust domain: within it, equal UUIDs are the same guest."""

    name = models.CharField(max_length=100, unique=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class Cluster(Row):
    """Hosts of one datacenter that belong together. A person says so: libvirt knows no clusters."""

    datacenter = models.ForeignKey(Datacenter, on_delete=models.PROTECT, related_name="clusters", db_index=False)
    name = NameField(max_length=100)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint("datacenter", Lower("name"), name="hosts_one_cluster_per_name")]

    def __str__(self) -> str:
        return self.name


class SourceState(models.TextChoices):
    NEW = "new", _("not read yet")
    OK = "ok", _("connected")
    UNREACHABLE = "unreachable", _("not reachable")
    AUTH_FAILED = "auth_failed", _("sign-in refused")
    FAILING = "failing", _("failing")
    PAUSED = "paused", _("paused")


SECRETS = ("password_encrypted", "private_key_encrypted", "ca_certificate_encrypted", "client_certificate_encrypted")
"""Of a Connection."""


class Connection(Row):
    """Where a source is and how to sign in. Secrets are encrypted; only `endpoint` decrypts them."""

    kind = models.CharField(max_length=32)
    hypervisor = models.CharField(
        max_length=8, default=Hypervisor.QEMU, choices=[(h.value, h.value) for h in Hypervisor]
    )
    transport = models.CharField(max_length=16, choices=[(t.value, t.value) for t in Transport])
    address = models.CharField(max_length=255, blank=True)
    port = models.PositiveIntegerField(null=True, blank=True)
    username = models.CharField(max_length=100, blank=True)
    password_encrypted = models.TextField(blank=True)
    private_key_encrypted = models.TextField(blank=True)  # by TLS that of the client certificate
    # No secrets, but whoever could write them into the database could stand in for a host.
    ca_certificate_encrypted = models.TextField(blank=True)
    client_certificate_encrypted = models.TextField(blank=True)
    certificates = models.JSONField(default=dict, blank=True)  # what of them is shown: hosts.certificates
    host_key = models.TextField(blank=True)  # the SSH host key a person accepted, or without a CA the certificate
    uri = models.CharField(max_length=500, blank=True)  # only from the server's own configuration
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True)

    class Meta:
        abstract = True

    def endpoint(self) -> Endpoint:
        """Where and how to connect, with decrypted credentials: for workers only.

        Connect with `hosts.validation.resolve_endpoint`, which also checks the address.

        Raises: core.crypto.UnreadableSecret.
        """
        return Endpoint(
            kind=self.kind,
            transport=Transport(self.transport),
            address=self.address,
            port=self.port,
            username=self.username,
            password=decrypt(self.password_encrypted),
            private_key=decrypt(self.private_key_encrypted),
            host_key=self.host_key,
            uri=self.uri,
            key=str(self.pk),
            hypervisor=Hypervisor(self.hypervisor),
            server_name=self.address if self.transport == Transport.TLS else "",
            ca_certificate=decrypt(self.ca_certificate_encrypted),
            client_certificate=decrypt(self.client_certificate_encrypted),
        )


class BatchKind(models.TextChoices):
    IMPORT = "import", _("Import of sources")
    CREDENTIALS = "credentials", _("New credentials")


class SourceBatch(Row):
    """Many sources at once: to be added, or to be signed in to in another way. Its drafts are tried by one task.

    `refused`: the lines that no draft was made of, each with `line`, `text` and a sentence, `message`; `known` says
    that what it names is there already.
    """

    kind = models.CharField(max_length=16, choices=BatchKind.choices)
    title = models.CharField(max_length=200)
    refused = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.title


class Outcome(models.TextChoices):
    """Where a draft of a batch stands; each says what comes next."""

    NEW = "new", _("not tried yet")  # → any other
    KEY = "key", _("host key to accept")  # a person accepts it → new
    READY = "ready", _("can be added")  # → done | failed
    FAILED = "failed", _("failed")  # → new, when it is tried again
    DONE = "done", _("done")  # its secrets are wiped


class SourceDraft(Connection):
    """A source being added: tested and its host key accepted before it becomes a Source. Nothing polls it.

    Those of a batch keep what came of them. `source` is the one whose sign-in is to be replaced, or the one added.
    """

    name = models.CharField(max_length=100)
    datacenter_name = models.CharField(max_length=100, blank=True)
    batch = models.ForeignKey(SourceBatch, on_delete=models.CASCADE, null=True, blank=True, related_name="drafts")
    position = models.PositiveIntegerField(default=0)  # in its batch
    outcome = models.CharField(max_length=8, choices=Outcome.choices, default=Outcome.NEW)
    message = models.TextField(blank=True)  # one sentence
    presented = models.JSONField(default=dict)  # the host key to decide on: `key` and `fingerprint`
    source = models.ForeignKey("Source", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    objects = RestrictedQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class Source(Connection):
    """One management endpoint we connect to, and where its polling stands.

    The lease (`lease_token`, `lease_until`) is claimed by conditional UPDATE, so one worker reads a source at a time;
    `sent_at` only keeps the dispatcher from sending a second message while the first waits for a worker.
    """

    name = NameField(max_length=100, unique=True)
    datacenter = models.ForeignKey(Datacenter, on_delete=models.PROTECT, related_name="sources")

    state = models.CharField(max_length=16, choices=SourceState.choices, default=SourceState.NEW)
    state_message = models.TextField(blank=True)
    state_since = models.DateTimeField(null=True, blank=True)
    findings = models.JSONField(default=list, blank=True)  # sentences: what the last read had to refuse or change
    failures = models.PositiveIntegerField(default=0)  # in a row
    suspect = models.BooleanField(default=False)  # hung or unreachable: read on a queue of its own
    next_inventory_at = models.DateTimeField(db_index=True)
    next_states_at = models.DateTimeField(db_index=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    lease_token = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    unsettled = models.CharField(max_length=32, blank=True)  # digest of what the last full read could not settle
    inventory_read_at = models.DateTimeField(null=True, blank=True)  # when the last complete read began
    states_read_at = models.DateTimeField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class HostState(models.TextChoices):
    CONNECTED = "connected", _("connected")
    NOT_RESPONDING = "not_responding", _("not responding")
    MISSING = "missing", _("missing")


class Host(Row):
    """A physical server that runs guests."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="hosts", db_index=False)
    datacenter = models.ForeignKey(Datacenter, on_delete=models.PROTECT, related_name="hosts")
    ref = models.CharField(max_length=255)
    uuid = models.CharField(max_length=36, db_index=True)
    name = NameField(max_length=255)
    state = models.CharField(max_length=16, choices=HostState.choices, default=HostState.CONNECTED)
    cluster = models.ForeignKey(Cluster, on_delete=models.SET_NULL, null=True, blank=True, related_name="hosts")  # ours
    maintenance = models.BooleanField(default=False)  # ours: no guest is moved here
    hypervisor = models.CharField(max_length=64, blank=True)
    hypervisor_version = models.CharField(max_length=64, blank=True)
    manager_version = models.CharField(max_length=64, blank=True)
    vendor = models.CharField(max_length=255, blank=True)
    model = models.CharField(max_length=255, blank=True)
    serial = models.CharField(max_length=255, blank=True)
    white_box = models.BooleanField(null=True, blank=True)  # none: the host does not tell
    architecture = models.CharField(max_length=32, blank=True)
    cpu_model = models.CharField(max_length=255, blank=True)
    cpu_sockets = models.PositiveIntegerField(default=0)
    cpu_cores = models.PositiveIntegerField(default=0)
    cpu_threads = models.PositiveIntegerField(default=0)
    cpu_mhz = models.PositiveIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    fact_hash = models.CharField(max_length=32, blank=True)
    links_hash = models.CharField(max_length=32, blank=True)  # of what its guests' disks and NICs were linked to
    evidence_at = models.DateTimeField()  # nothing read before this is applied
    missing_since = models.DateTimeField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        indexes = [by_name_index("hosts_by_name")]
        constraints = [models.UniqueConstraint(fields=["source", "ref"], name="hosts_one_row_per_ref")]

    def __str__(self) -> str:
        return self.name


class HostSighting(Row):
    """A source that shows a host which another one reads. It stands by: when the owner goes, it takes the host over."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="sightings")
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="sightings", db_index=False)
    ref = models.CharField(max_length=255)  # as this source names the host
    # Since when it tells another UUID or name than the owner did: the owner's next word decides whether it is the host.
    differs_since = models.DateTimeField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "ref"], name="hosts_one_sighting_per_ref")]

    def __str__(self) -> str:
        return f"{self.host_id} by {self.source_id}"


class HostDetails(models.Model):
    """What a host is built from beside the columns of its own row, for whoever looks at one host.

    `facts`: drivers.types.HostHardware without what is empty, what the host's row has, and the PCI devices. Those are
    `pci`, since there may be thousands. Each has a digest of its own: a link that goes down writes no PCI devices.
    """

    host = models.OneToOneField(Host, on_delete=models.CASCADE, primary_key=True, related_name="details")
    facts = models.JSONField(default=dict)
    facts_hash = models.CharField(max_length=32, blank=True)
    pci = models.JSONField(default=list)
    pci_hash = models.CharField(max_length=32, blank=True)

    objects = RestrictedQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.host_id)
