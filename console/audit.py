"""The audit log's page."""

from django.http import HttpRequest, HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from access.selectors import audit_list
from console.listing import list_response
from console.tables.audit import AUDIT


@require_safe
def audit_page(request: HttpRequest) -> HttpResponseBase:
    """Who did what, newest first; exported like every list."""
    require(request.user, Action.AUDIT)
    context = {
        "heading": _("Audit log"),
        "empty_icon": "history",
        "empty_title": _("Nothing was done yet."),
    }
    return list_response(
        request, AUDIT, audit_list(user=request.user), template="audit/audit_list.html", context=context
    )


urlpatterns = [path("audit/", audit_page, name="audit_list")]
