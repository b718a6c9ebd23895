"""Taking a host out of the migration targets, and back in."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from access.models import require
from access.roles import Action
from hosts.models import Host
from hosts.services import set_maintenance


@require_POST
def host_maintenance(request: HttpRequest, host_id: UUID) -> HttpResponseBase:
    """`on` says which: 1 or 0, so that pressing twice does not undo it."""
    require(request.user, Action.MAINTENANCE)
    host = get_object_or_404(Host.objects.restrict(request.user, Action.MAINTENANCE), pk=host_id)
    on = request.POST.get("on") == "1"
    set_maintenance(host=host, on=on, by=request.user)
    sentence = (
        _("%(host)s is in maintenance: no guest is moved there. Its own guests stay where they are.")
        if on
        else _("%(host)s takes guests again.")
    )
    messages.success(request, sentence % {"host": host.name})
    return redirect("host_page", host.pk)
