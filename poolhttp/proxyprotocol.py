"""Sans-I/O reader of the PROXY protocol: a connection's first bytes in, the client's address out.

Lives here: the grammar of HAProxy's proxy-protocol.txt, versions 1 (a line of text) and 2 (binary),
and when it is sure that a connection begins without a header. Must not live here: sockets, the list
of peers that may send one, the environ.

A connection without a header is plain HTTP and passes, as in gunicorn. So does a header of the
version that the mode doesn't have: no HTTP request begins like that, and the request parser refuses
it. From the end of the prefix on it is a header and nothing else; what is wrong with it is then the
peer's fault.
"""

from __future__ import annotations

import re
import struct
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, AddressFamily, inet_ntop
from typing import NamedTuple

from poolhttp.errors import RequestError

V1_PREFIX = b"PROXY "
V2_PREFIX = b"\r\n\r\n\0\r\nQUIT\n"

V1_MAX = 107
"""Bytes of the longest line with its CRLF: UNKNOWN with two IPv6 addresses (section 2.1)."""

V2_HEAD = 16
"""Bytes of the signature, version and command, family and transport, length (section 2.2)."""

V2_LENGTH = 4096
"""Bytes of addresses and TLVs that we take, of 65,535 that the length can say. nginx has 4096 for
the whole header; the specification wants senders to stay below 536."""

_PREFIXES = {"v1": (V1_PREFIX,), "v2": (V2_PREFIX,), "auto": (V1_PREFIX, V2_PREFIX)}
_FAMILIES = {"TCP4": AF_INET, "TCP6": AF_INET6}
# No sign, no underscore, no leading zero.
_PORT = re.compile("0|[1-9][0-9]{0,4}")

_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC = frozenset((0x00, 0x01))
_LAYOUTS = {0x11: ("TCP4", struct.Struct("!4s4sHH")), 0x21: ("TCP6", struct.Struct("!16s16sHH"))}


class ProxyHeader(NamedTuple):
    """What a PROXY header says.

    Attributes:
        protocol: TCP4 or TCP6; None if the header names nobody (version 1: UNKNOWN, version 2:
            LOCAL and UNSPEC), and the peer of the socket is the client.
        source_address: the client's address as inet_ntop writes it, '' without protocol.
        source_port: its port.
        destination_address: where the client connected to.
        destination_port: its port.
    """

    protocol: str | None = None
    source_address: str = ""
    source_port: str = ""
    destination_address: str = ""
    destination_port: str = ""


class ProxyReader:
    """Reads what may be a PROXY header at the beginning of one connection.

    Args:
        mode: the versions that are read: v1, v2 or auto for both.
        allowed: whether this peer may send a header.
    """

    __slots__ = ("_allowed", "_held", "_prefixes")

    def __init__(self, mode: str, *, allowed: bool = True) -> None:
        self._prefixes = _PREFIXES[mode]
        self._allowed = allowed
        self._held = b""

    def feed(self, data: bytes) -> tuple[ProxyHeader | None, bytes] | None:
        """Take in the next bytes.

        Args:
            data: what was received.

        Returns:
            None while a header may still become complete; less than V2_HEAD + V2_LENGTH bytes are
            kept. Otherwise the header, or None if there is none, and all bytes behind it; the
            reader is then of no use any more.

        Raises:
            RequestError: 400 for a malformed header, 403 for one from a peer that may not send it.
        """
        data = self._held + data
        self._held = b""
        decided = self._read(data)
        if decided is None:
            self._held = data
        return decided

    def _read(self, data: bytes) -> tuple[ProxyHeader | None, bytes] | None:
        for prefix in self._prefixes:
            if data.startswith(prefix):
                if not self._allowed:
                    raise RequestError(403, "this peer may not send a PROXY header")
                return _read_v1(data) if prefix == V1_PREFIX else _read_v2(data)
        if any(prefix.startswith(data) for prefix in self._prefixes):
            return None
        return None, data


def _malformed(what: str) -> RequestError:
    return RequestError(400, f"malformed PROXY header: {what}")


def _read_v1(data: bytes) -> tuple[ProxyHeader, bytes] | None:
    end = data.find(b"\n", 0, V1_MAX)
    if end < 0:
        if len(data) >= V1_MAX:
            raise _malformed(f"no line of at most {V1_MAX} bytes")
        return None
    if data.find(b"\r") != end - 1:
        raise _malformed("CR or LF that isn't the end of the line")
    fields = data[len(V1_PREFIX) : end - 1].decode("latin-1").split(" ")
    return _from_fields(fields), data[end + 1 :]


def _from_fields(fields: list[str]) -> ProxyHeader:
    protocol = fields[0]
    if protocol == "UNKNOWN":
        # "The receiver must ignore anything presented before the CRLF" (section 2.1).
        return ProxyHeader()
    family = _FAMILIES.get(protocol)
    if family is None:
        raise _malformed("the protocol is none of TCP4, TCP6, UNKNOWN")
    if len(fields) != 5:
        raise _malformed("not two addresses and two ports")
    _, source, destination, source_port, destination_port = fields
    return ProxyHeader(
        protocol,
        _address(family, source),
        _port(source_port),
        _address(family, destination),
        _port(destination_port),
    )


def _address(family: AddressFamily, text: str) -> str:
    try:
        # A scope (fe80::1%eth0) is an address for ipaddress, but not for anybody else's machine.
        if "%" in text:
            raise ValueError(text)
        packed = (IPv4Address(text) if family == AF_INET else IPv6Address(text)).packed
    except ValueError:
        raise _malformed("not an address of the protocol") from None
    return inet_ntop(family, packed)


def _port(text: str) -> str:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise _malformed("not a port")
    return text


def _read_v2(data: bytes) -> tuple[ProxyHeader, bytes] | None:
    if len(data) < V2_HEAD:
        return None
    command, family, length = struct.unpack_from("!BBH", data, len(V2_PREFIX))
    if command not in {_LOCAL, _PROXY}:
        raise _malformed("neither LOCAL nor PROXY of version 2")
    if length > V2_LENGTH:
        raise _malformed(f"more than {V2_LENGTH} bytes of addresses and TLVs")
    # LOCAL is a health check of the proxy's own, of whatever family.
    unnamed = command == _LOCAL or family in _UNSPEC
    if not unnamed:
        # UDP makes no HTTP connection, and a unix socket's path is no address for REMOTE_ADDR.
        if family not in _LAYOUTS:
            raise _malformed("neither TCP over IPv4 nor over IPv6")
        if length < _LAYOUTS[family][1].size:
            raise _malformed("too short for its addresses")
    end = V2_HEAD + length
    if len(data) < end:
        return None
    return ProxyHeader() if unnamed else _from_binary(family, data), data[end:]


def _from_binary(family: int, data: bytes) -> ProxyHeader:
    """Read the addresses; the TLVs behind them are skipped."""
    protocol, layout = _LAYOUTS[family]
    source, destination, source_port, destination_port = layout.unpack_from(data, V2_HEAD)
    to_text = partial(inet_ntop, _FAMILIES[protocol])
    return ProxyHeader(
        protocol, to_text(source), str(source_port), to_text(destination), str(destination_port)
    )
