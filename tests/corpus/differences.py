"""Where poolhttp deliberately answers other than gunicorn's own parser: one table.

Each entry names a file of the corpus, what we answer, and why; each is at least as strict as what
gunicorn does. A file that is not here has to be answered as gunicorn answers it. An entry whose
file is answered as by gunicorn after all fails the test: the table tells the truth or is corrected.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .cases import Case

REFUSED_SETTINGS = (
    "permit_obsolete_folding",
    "permit_unconventional_http_method",
    "permit_unconventional_http_version",
    "strip_header_spaces",
)
"""Settings with which gunicorn does not start with our worker class: llhttp cannot honour them, and
to ignore them in silence would be worse than to say so."""


@dataclass(frozen=True)
class Difference:
    """What we do with a file instead of what gunicorn does."""

    why: str
    statuses: tuple[int, ...] | None
    """Our answers; None where the server refuses to start, because of a refused setting."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """What the app sees instead, where the answer is a 200."""

    def applied_to(self, case: Case) -> Case:
        """The case as we answer it."""
        seen = tuple(replace(each, environ={**each.environ, **self.environ}) for each in case.seen)
        statuses = self.statuses or ()
        return replace(case, statuses=statuses, seen=seen if 200 in statuses else ())


def _refused(setting: str) -> Difference:
    return Difference(f"needs {setting}, which makes the worker refuse to start", None)


_AUTHORITY = Difference(
    "CONNECT is for proxies and a WSGI app can't be one: gunicorn calls the app, we answer that we "
    "don't implement it (RFC 9110 sections 9.3.6 and 15.6.2)",
    (501,),
)

_CODED = Difference(
    "a transfer coding beside chunked: gunicorn hands the app a body that is still coded, we say "
    "that we don't understand it (RFC 9112 section 6.1; identity is gone since RFC 7230)",
    (501,),
)

DIFFERENCES = {
    "valid/013": Difference(
        "a chunk extension with spaces around its `;`: RFC 9112 section 7.1.1 has them only as bad "
        "whitespace, and no client sends them",
        (400,),
    ),
    "valid/025": _CODED,
    "valid/025_line": _CODED,
    "valid/028": _refused("strip_header_spaces"),
    "valid/029": _CODED,
    "valid/030": _CODED,
    "valid/031": Difference("llhttp knows the registered methods only, and -BLARGH is not", (400,)),
    "valid/031compat": _refused("permit_unconventional_http_method"),
    "valid/031compat2": _refused("permit_unconventional_http_method"),
    "valid/040_compat": Difference(
        "TRANSFER_ENCODING, with an underscore, beside Content-Length: there are proxies that take "
        "it for the field with the hyphen, so it is refused even under header_map = dangerous",
        (400,),
    ),
    "valid/099": Difference(
        "17914 bytes are declared and 8599 sent: gunicorn calls the app with the short body, we "
        "don't call it with a body that is known to be incomplete (RFC 9112 section 8)",
        (400,),
    ),
    "valid/compat_obs_fold": _refused("permit_obsolete_folding"),
    "valid/compat_obs_fold_huge": _refused("permit_obsolete_folding"),
    "valid/rfc9112_smuggle_gzip_chunked_01": _CODED,
    "valid/rfc9112_smuggle_te_identity_chunked_01": _CODED,
    "valid/rfc9112_target_authority_connect_01": _AUTHORITY,
    "valid/rfc9112_target_authority_ipv6_01": _AUTHORITY,
    "invalid/013": _refused("permit_obsolete_folding"),
}
