"""GET /v1/certificates, and having their files read again."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from fastapi import APIRouter

from fastlb.admin import shapes, views
from fastlb.admin.context import Context, Json, done, problems
from fastlb.admin.shapes_tls import AcmeView, CertificateList, CertificateView
from fastlb.runtime.acme_keeper import AcmeKeeper, Order
from fastlb.runtime.tls_keeper import Served


def router(context: Context) -> APIRouter:
    """Reading, and one action."""
    routes = APIRouter(prefix="/v1", tags=["tls"])

    @routes.get("/certificates", response_model=CertificateList)
    async def certificates() -> Json:
        """The certificates in use, those that end first before the others."""
        keeper = context.running.service.tls
        found = sorted(keeper.served(), key=lambda one: one.leaf.not_after)
        answer: CertificateList = {"certificates": [certificate_view(one, keeper.acme) for one in found]}
        return Json(answer)

    @routes.post("/certificates/reload", response_model=shapes.AnswerView, responses=problems(401, 403, 409, 422))
    async def reload() -> Json:
        """Reads the files of all certificates again; handshakes use those that changed from the answer on.

        Nothing else is touched. A file that cannot be used is told, and the certificate before stays.
        """
        return Json(views.answer_view(done(await context.actions.reload_certificates())))

    return routes


def certificate_view(one: Served, acme: AcmeKeeper) -> CertificateView:
    leaf = one.leaf
    return {
        "frontend": one.frontend,
        "listen": one.address,
        "file": leaf.file,
        "names": list(leaf.names),
        "key": leaf.kind,  # type: ignore[typeddict-item]
        "subject": leaf.subject,
        "issuer": leaf.issuer,
        "serial": leaf.serial,
        "not_before": leaf.not_before,
        "not_after": leaf.not_after,
        "days_left": round((leaf.not_after.timestamp() - time.time()) / 86400, 3),
        "acme": acme_view(acme.of_file(one.acme_cert)) if one.acme_cert else None,
    }


def acme_view(order: Order | None) -> AcmeView | None:
    if order is None:
        return None
    return {
        "state": order.state,
        "wanted": list(order.names),
        "renew_at": _moment(order.renew_at),
        "next_try": _moment(order.next_try),
        "failures": order.failures,
        "error": order.error,
    }


def _moment(at: float) -> datetime | None:
    return datetime.fromtimestamp(at, UTC) if at else None
