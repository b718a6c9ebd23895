"""Whether this web process serves pages, and whether what happens can be written down."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from core import room


@login_not_required
@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    # With 200 all the same: pages are served, and a restart by whoever asks would make no room.
    return JsonResponse({"status": "full" if room.is_full() else "ok"})
