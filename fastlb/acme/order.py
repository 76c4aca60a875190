"""One order for a certificate, from the account to the chain. Blocks for as long as the authority takes: in a thread.

The protocol is the library's (acme and josepy, those of certbot); what is here is which account, which challenge, and
what to say when something fails. Source: RFC 8555 section 7.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from fastlb.acme.store import Store
from fastlb.control.secrets import read_secret
from fastlb.control.self_signed import proof
from fastlb.errors import FastlbError
from fastlb.spec import Acme, Challenges

PATIENCE = 180  # seconds that the authority has to look, and again to issue
NONCES = 3  # pairs of tries with another nonce (RFC 8555 section 6.5)

Show = Callable[[Challenges], None]
T = TypeVar("T")


class OrderError(FastlbError):
    """No certificate was got; the text says why."""


class _Network(client.ClientNetwork):
    """The library tries a refused nonce once more; an authority under load may refuse several."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for _ in range(NONCES - 1):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


class _AlpnResponse(challenges.KeyAuthorizationChallengeResponse):
    typ = "tls-alpn-01"


@challenges.Challenge.register
class _Alpn(challenges.KeyAuthorizationChallenge):
    """RFC 8737, which newer releases of the library leave out."""

    typ = "tls-alpn-01"
    response_cls = _AlpnResponse

    def validation(self, account_key: JWK, **_: Any) -> str:
        return self.key_authorization(account_key)


def order(settings: Acme, names: tuple[str, ...], show: Show) -> bytes:
    """A certificate with its chain and a new private key, in PEM.

    `show` is called with what the authority is about to look for, and returns when every worker shows it. Raises
    OrderError.
    """
    return _told(lambda: _order(settings, names, show))


def renewal(settings: Acme, pem: bytes) -> tuple[float | None, float]:
    """When the authority wants the certificate to be renewed, and when to ask again (RFC 9773); seconds since 1970.

    None = it does not say. Raises OrderError.
    """

    def ask() -> tuple[float | None, float]:
        found, again = _client(settings, Store(settings)).renewal_time(pem)
        return found.timestamp() if found is not None else None, again.timestamp()

    return _told(ask)


def _told(what: Callable[[], T]) -> T:
    try:
        return what()
    except errors.ValidationError as error:
        raise OrderError("; ".join(_refused(one) for one in error.failed_authzrs)) from error
    except messages.Error as error:
        raise OrderError(_words(error)) from error
    except errors.TimeoutError as error:
        raise OrderError(f"the authority did not come to an end within {PATIENCE} s") from error
    except (errors.Error, JoseError, requests.RequestException, OSError, ValueError) as error:
        raise OrderError(f"{type(error).__name__}: {error}") from error


def _words(error: messages.Error) -> str:
    return ": ".join(text for text in (error.code, error.detail) if text) or str(error)


def _refused(authorization: messages.AuthorizationResource) -> str:
    name = authorization.body.identifier.value
    why = [_words(one.error) for one in authorization.body.challenges if one.error is not None]
    return f"{name} was not proven: {'; '.join(why) or 'no reason given'}"


def _order(settings: Acme, names: tuple[str, ...], show: Show) -> bytes:
    store = Store(settings)
    acme = _client(settings, store)
    key = _new_key(settings.key)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    request = crypto_util.make_csr(private, list(names))
    try:
        found = acme.new_order(request)
    except messages.Error as error:
        if error.code not in ("accountDoesNotExist", "unauthorized", "malformed") or not store.account():
            raise
        # The authority has forgotten the account: it gets another one, with the same key.
        store.keep_account({**store.account(), "uri": ""})
        acme = _client(settings, store)
        found = acme.new_order(request)
    wanted = [_challenge(one, settings.challenge) for one in found.authorizations if _pending(one)]
    if wanted:
        show(_shown(key_of(acme), found.authorizations, wanted))
    try:
        for one in wanted:
            acme.answer_challenge(one, one.response(key_of(acme)))
        now = datetime.datetime.now()
        found = acme.poll_authorizations(found, now + datetime.timedelta(seconds=PATIENCE))
    finally:
        if wanted:
            show(Challenges())
    # The library counts in local time without a zone.
    found = acme.finalize_order(found, datetime.datetime.now() + datetime.timedelta(seconds=PATIENCE))
    pem: bytes = found.fullchain_pem.encode() + private
    return pem


def _client(settings: Acme, store: Store) -> client.ClientV2:
    """With an account: the one in the store, else a new one."""
    account = store.account()
    key: Any
    if "key" in account:
        key = JWKEC.from_json(account["key"])
    else:
        key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
        account = {"directory": settings.directory, "key": key.to_json(), "uri": ""}
        store.keep_account(account)  # before it is used: nobody loses an account for want of a disk
    net = _Network(key, alg=ES256, user_agent="fastlb")
    if settings.ca:
        net.verify_ssl = settings.ca  # type: ignore[assignment]  # as requests takes it
    acme = client.ClientV2(client.ClientV2.get_directory(settings.directory, net), net)
    if account.get("uri"):
        net.account = messages.RegistrationResource(uri=account["uri"], body=messages.Registration())
        return acme
    binding = None
    if settings.eab_kid:
        binding = messages.ExternalAccountBinding.from_data(
            account_public_key=key.public_key(),
            kid=settings.eab_kid,
            hmac_key=read_secret(settings.eab_key, "tls.acme.eab_key").decode("ascii", "replace"),
            directory=acme.directory,
        )
    wanted = messages.NewRegistration.from_data(terms_of_service_agreed=True, external_account_binding=binding)
    if settings.contact:
        wanted = wanted.update(contact=tuple(f"mailto:{one}" for one in settings.contact))
    try:
        uri = acme.new_account(wanted).uri
    except errors.ConflictError as conflict:
        uri = conflict.location
        net.account = messages.RegistrationResource(uri=uri, body=messages.Registration())
    store.keep_account({**account, "uri": uri})
    return acme


def key_of(acme: client.ClientV2) -> JWK:
    """Of its account."""
    key: JWK | None = acme.net.key
    assert key is not None
    return key


def _new_key(kind: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa.generate_private_key(65537, 2048)


def _pending(authorization: messages.AuthorizationResource) -> bool:
    """Names that were proven lately need not be proven again (RFC 8555 section 7.5)."""
    return bool(authorization.body.status != messages.STATUS_VALID)


def _challenge(authorization: messages.AuthorizationResource, kind: str) -> messages.ChallengeBody:
    for one in authorization.body.challenges:
        if one.chall.typ == kind:
            return one
    offered = ", ".join(sorted(str(one.chall.to_json().get("type")) for one in authorization.body.challenges))
    raise OrderError(f"{authorization.body.identifier.value}: the authority does not offer {kind}, but {offered}")


def _shown(
    key: JWK,
    authorizations: list[messages.AuthorizationResource],
    wanted: list[messages.ChallengeBody],
) -> Challenges:
    answers, certificates = [], []
    names = {id(c): a.body.identifier.value for a in authorizations for c in a.body.challenges}
    for one in wanted:
        text = one.chall.key_authorization(key)
        if one.chall.typ == "http-01":
            answers.append((one.chall.path, text))
        else:
            certificates.append((names[id(one)], proof(names[id(one)], text)))
    return Challenges(tuple(answers), tuple(certificates))


def write(settings: Acme, file: str, pem: bytes) -> None:
    """Stores a certificate that can be used, in place of the one before. Raises OSError, or ssl.SSLError."""
    store, path = Store(settings), Path(file)
    fresh = path.with_suffix(".fresh")
    store.write(fresh, pem)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(fresh)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
