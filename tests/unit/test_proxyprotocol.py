"""The PROXY protocol's grammar, without a socket: HAProxy's proxy-protocol.txt, sections 2.1, 2.2.

Nothing here depends on how the bytes arrive, so each valid header is cut everywhere.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from socket import AF_INET, AF_INET6, inet_ntop

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poolhttp.errors import RequestError
from poolhttp.parser import RequestParser
from poolhttp.proxyprotocol import (
    V1_MAX,
    V2_HEAD,
    V2_LENGTH,
    V2_PREFIX,
    ProxyHeader,
    ProxyReader,
)
from poolhttp.settings import Settings

Decision = tuple[ProxyHeader | None, bytes]

MODES = ("v1", "v2", "auto")
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LOCAL, PROXY = 0x20, 0x21
WIDEST = b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

ADDRESSES4 = bytes((192, 0, 2, 1, 198, 51, 100, 9)) + struct.pack("!HH", 56324, 443)
ADDRESSES6 = (
    IPv6Address("2001:db8::1").packed + IPv6Address("::1").packed + struct.pack("!HH", 0, 65535)
)
HEADER4 = ProxyHeader("TCP4", "192.0.2.1", "56324", "198.51.100.9", "443")
HEADER6 = ProxyHeader("TCP6", "2001:db8::1", "0", "::1", "65535")
NOBODY = ProxyHeader()


def v2(command: int, family: int, payload: bytes, length: int | None = None) -> bytes:
    said = len(payload) if length is None else length
    return V2_PREFIX + struct.pack("!BBH", command, family, said) + payload


VALID_V1 = {
    b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 443\r\n": HEADER4,
    b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n": HEADER6,
    b"PROXY TCP6 2001:DB8:0:0::0:1 0:0:0:0:0:0:0:1 0 65535\r\n": HEADER6,
    b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n": ProxyHeader(
        "TCP6", "::ffff:192.0.2.1", "1", "::1", "2"
    ),
    b"PROXY TCP6 " + WIDEST + b" " + WIDEST + b" 65535 65535\r\n": ProxyHeader(
        "TCP6", WIDEST.decode(), "65535", WIDEST.decode(), "65535"
    ),
    b"PROXY UNKNOWN\r\n": NOBODY,
    b"PROXY UNKNOWN \xff anything\0 at  all\r\n": NOBODY,
    b"PROXY UNKNOWN " + WIDEST + b" " + WIDEST + b" 65535 65535\r\n": NOBODY,
}
VALID_V2 = {
    v2(PROXY, 0x11, ADDRESSES4): HEADER4,
    v2(PROXY, 0x11, ADDRESSES4 + b"\x04\0\x05\r\n\r\n\0"): HEADER4,
    v2(PROXY, 0x11, ADDRESSES4 + bytes(V2_LENGTH - 12)): HEADER4,
    v2(PROXY, 0x21, ADDRESSES6): HEADER6,
    v2(PROXY, 0x21, ADDRESSES6 + b"\x04\0\1x"): HEADER6,
    v2(PROXY, 0x00, b""): NOBODY,
    v2(PROXY, 0x00, b"\x04\0\1x"): NOBODY,
    v2(PROXY, 0x01, ADDRESSES4): NOBODY,
    v2(LOCAL, 0x00, b""): NOBODY,
    v2(LOCAL, 0x11, ADDRESSES4): NOBODY,
    v2(LOCAL, 0x11, b"shorter"): NOBODY,
    v2(LOCAL, 0xFF, b"\x04\0\1x"): NOBODY,
}
VALID = {**VALID_V1, **VALID_V2}

MALFORMED_V1 = [
    b"PROXY \r\n",
    b"PROXY  TCP4 192.0.2.1 198.51.100.9 1 2\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 1\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 1 2 3\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 1 2 \r\n",
    b"PROXY TCP4 192.0.2.1  198.51.100.9 1 2\r\n",
    b"PROXY TCP4\t192.0.2.1 198.51.100.9 1 2\r\n",
    # Protocols
    b"PROXY tcp4 192.0.2.1 198.51.100.9 1 2\r\n",
    b"PROXY TCP 192.0.2.1 198.51.100.9 1 2\r\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.9 1 2\r\n",
    b"PROXY UNKNOWN4\r\n",
    b"PROXY /target HTTP/1.1\r\n",
    # Addresses
    b"PROXY TCP4 ::1 198.51.100.9 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
    b"PROXY TCP6 ::1 198.51.100.9 1 2\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.9 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.9 1 2\r\n",
    b"PROXY TCP4 192.0.2.01 198.51.100.9 1 2\r\n",
    b"PROXY TCP4 192.0.2.1/32 198.51.100.9 1 2\r\n",
    b"PROXY TCP4 3221225985 198.51.100.9 1 2\r\n",
    b"PROXY TCP4 192.0.2.\xb2 198.51.100.9 1 2\r\n",
    b"PROXY TCP4 localhost 198.51.100.9 1 2\r\n",
    b"PROXY TCP4 192.0.2.1\0 198.51.100.9 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP6 [::1] ::1 1 2\r\n",
    b"PROXY TCP6 1::2::3 ::1 1 2\r\n",
    # Ports
    b"PROXY TCP4 192.0.2.1 198.51.100.9 65536 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 1 100000\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 -1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 +1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 01 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 1_0 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 \xb2 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 1 2\n\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9  2\r\n",
    # Ends of lines
    b"PROXY TCP4 192.0.2.1 198.51.100.9 1 2\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.9 1 2\r\r\n",
    b"PROXY UNKNOWN\n",
    b"PROXY UNKNOWN\rGET / HTTP/1.1\r\n",
    b"PROXY UNKNOWN\nGET / HTTP/1.1\r\n",
    b"PROXY UNKNOWN " + b"x" * (V1_MAX - 15) + b"\r\n",
    b"PROXY " + b"x" * (V1_MAX - 6),
]
MALFORMED_V2 = [
    # Versions and commands
    v2(0x11, 0x11, ADDRESSES4),
    v2(0x31, 0x11, ADDRESSES4),
    v2(0x01, 0x11, ADDRESSES4),
    v2(0x22, 0x11, ADDRESSES4),
    v2(0x2F, 0x11, ADDRESSES4),
    # Families and transports: datagrams, unix sockets, and what isn't assigned
    v2(PROXY, 0x02, ADDRESSES4),
    v2(PROXY, 0x10, ADDRESSES4),
    v2(PROXY, 0x12, ADDRESSES4),
    v2(PROXY, 0x13, ADDRESSES4),
    v2(PROXY, 0x20, ADDRESSES6),
    v2(PROXY, 0x22, ADDRESSES6),
    v2(PROXY, 0x31, bytes(216)),
    v2(PROXY, 0x32, bytes(216)),
    v2(PROXY, 0x41, bytes(216)),
    # Lengths; those that are wrong are refused before the payload has come
    v2(PROXY, 0x11, b"", length=0),
    v2(PROXY, 0x11, b"", length=11),
    v2(PROXY, 0x21, b"", length=35),
    v2(PROXY, 0x21, b"", length=12),
    v2(PROXY, 0x11, b"", length=V2_LENGTH + 1),
    v2(PROXY, 0x00, b"", length=65535),
    v2(LOCAL, 0x00, b"", length=65535),
]
PLAIN = [
    REQUEST,
    b"\r\n" + REQUEST,
    b"\r\n\r\n" + REQUEST,
    b"\n",
    b"POST / HTTP/1.1\r\n\r\n",
    b"PROXYX",
    b"PROXY\tTCP4 192.0.2.1 198.51.100.9 1 2\r\n",
    b"proxy TCP4 192.0.2.1 198.51.100.9 1 2\r\n",
    b" PROXY TCP4 192.0.2.1 198.51.100.9 1 2\r\n",
    b"\0",
    V2_PREFIX[:-1] + b"\r",
]


def feed_all(reader: ProxyReader, pieces: list[bytes]) -> Decision | None:
    """Feed pieces until there is a decision, and give it the rest of them."""
    for i, piece in enumerate(pieces):
        decided = reader.feed(piece)
        if decided is not None:
            header, rest = decided
            return header, rest + b"".join(pieces[i + 1 :])
    return None


def single_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def mode_of(header: bytes) -> str:
    return "v1" if header.startswith(b"PROXY") else "v2"


@pytest.mark.parametrize("data", VALID, ids=repr)
def test_valid_header_is_read_however_it_is_cut(data: bytes) -> None:
    for mode in (mode_of(data), "auto"):
        for i in range(len(data) + 1):
            pieces = [data[:i], data[i:] + REQUEST]
            assert feed_all(ProxyReader(mode), pieces) == (VALID[data], REQUEST)


@pytest.mark.parametrize("data", VALID, ids=repr)
def test_valid_header_is_decided_at_its_last_byte(data: bytes) -> None:
    reader = ProxyReader("auto")
    for piece in single_bytes(data[:-1]):
        assert reader.feed(piece) is None
    assert reader.feed(data[-1:]) == (VALID[data], b"")


def test_longest_line_has_the_bytes_that_the_specification_says() -> None:
    assert max(map(len, VALID_V1)) == V1_MAX == 107


@pytest.mark.parametrize("data", MALFORMED_V1 + MALFORMED_V2, ids=repr)
def test_malformed_header_is_a_400(data: bytes) -> None:
    for mode in (mode_of(data), "auto"):
        for pieces in ([data], [data + REQUEST], single_bytes(data)):
            with pytest.raises(RequestError) as caught:
                feed_all(ProxyReader(mode), pieces)
            assert caught.value.status == 400


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("data", PLAIN, ids=repr)
def test_plain_http_passes(mode: str, data: bytes) -> None:
    for pieces in ([data], single_bytes(data)):
        assert feed_all(ProxyReader(mode), pieces) == (None, data)


@pytest.mark.parametrize(
    ("mode", "waits", "decides"),
    [
        ("v1", b"", b"G"),
        ("v1", b"", b"\r"),
        ("v1", b"P", b"O"),
        ("v2", b"", b"P"),
        ("v2", b"\r\n", b"G"),
        ("auto", b"PROXY", b"X"),
        ("auto", b"\r\n\r\n", b"P"),
    ],
)
def test_plain_http_is_known_by_the_first_byte_that_shows_it(
    mode: str, waits: bytes, decides: bytes
) -> None:
    reader = ProxyReader(mode)
    assert reader.feed(waits) is None
    assert reader.feed(decides) == (None, waits + decides)


@pytest.mark.parametrize(
    ("mode", "data"), [("v2", each) for each in VALID_V1] + [("v1", each) for each in VALID_V2]
)
def test_header_of_the_other_version_passes_and_is_no_request(mode: str, data: bytes) -> None:
    assert ProxyReader(mode).feed(data + REQUEST) == (None, data + REQUEST)
    with pytest.raises(RequestError) as caught:
        RequestParser(Settings()).feed(data + REQUEST)
    assert caught.value.status == 400


@pytest.mark.parametrize("data", [b"PROXY ", V2_PREFIX])
def test_peer_that_may_not_send_a_header_is_refused_at_its_prefix(data: bytes) -> None:
    reader = ProxyReader("auto", allowed=False)
    assert reader.feed(data[:-1]) is None
    with pytest.raises(RequestError) as caught:
        reader.feed(data[-1:])
    assert caught.value.status == 403


@pytest.mark.parametrize("data", PLAIN, ids=repr)
def test_peer_that_may_not_send_a_header_sends_plain_http(data: bytes) -> None:
    assert ProxyReader("auto", allowed=False).feed(data) == (None, data)


ADDRESS4 = st.binary(min_size=4, max_size=4)
ADDRESS6 = st.binary(min_size=16, max_size=16)
PORT = st.integers(0, 65535)


def expected(protocol: str, source: bytes, destination: bytes, sport: int, dport: int) -> Decision:
    family = AF_INET if protocol == "TCP4" else AF_INET6
    addresses = inet_ntop(family, source), inet_ntop(family, destination)
    return ProxyHeader(protocol, addresses[0], str(sport), addresses[1], str(dport)), REQUEST


@given(st.one_of(st.tuples(ADDRESS4, ADDRESS4), st.tuples(ADDRESS6, ADDRESS6)), PORT, PORT)
@example((bytes(15) + b"\1", bytes(10) + b"\xff\xff\x7f\0\0\1"), 0, 65535)
def test_any_address_comes_back_from_both_versions(
    addresses: tuple[bytes, bytes], sport: int, dport: int
) -> None:
    source, destination = addresses
    ipv4 = len(source) == 4
    protocol = "TCP4" if ipv4 else "TCP6"
    texts = (
        [str(IPv4Address(each)) for each in addresses]
        if ipv4
        else [IPv6Address(each).exploded for each in addresses]
    )
    line = f"PROXY {protocol} {texts[0]} {texts[1]} {sport} {dport}\r\n".encode()
    payload = source + destination + struct.pack("!HH", sport, dport)
    binary = v2(PROXY, 0x11 if ipv4 else 0x21, payload)
    wanted = expected(protocol, source, destination, sport, dport)
    for data in (line, binary):
        assert ProxyReader("auto").feed(data + REQUEST) == wanted
        assert feed_all(ProxyReader("auto"), single_bytes(data + REQUEST)) == wanted


NEARLY = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda rest: b"PROXY " + rest),
    st.binary(max_size=200).map(lambda rest: b"PROXY UNKNOWN " + rest),
    st.binary(max_size=200).map(lambda rest: V2_PREFIX + rest),
    st.builds(
        v2,
        st.sampled_from((LOCAL, PROXY, 0x2F, 0x11)),
        st.sampled_from((0x00, 0x01, 0x11, 0x12, 0x21, 0x31)),
        st.binary(max_size=64),
        st.one_of(st.none(), st.integers(0, 65535)),
    ),
)


@given(st.sampled_from(MODES), st.booleans(), NEARLY, st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_are_decided_alike_however_cut_or_refused(
    mode: str, allowed: bool, data: bytes, cuts: list[int]
) -> None:
    def outcome(pieces: list[bytes]) -> Decision | int | None:
        try:
            return feed_all(ProxyReader(mode, allowed=allowed), pieces)
        except RequestError as exc:
            return exc.status

    edges = [0, *sorted(min(each, len(data)) for each in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    whole = outcome([data])
    assert outcome(pieces) == outcome(single_bytes(data)) == whole
    if isinstance(whole, tuple):
        assert data.endswith(whole[1])
        assert whole[0] is not None or whole[1] == data


@given(st.sampled_from(MODES), NEARLY, st.binary(min_size=1, max_size=4), st.integers(1, 2000))
@example("auto", b"PROXY ", b"x", 1)
@example("auto", b"PROXY UNKNOWN", b" ", 1)
@example("auto", v2(LOCAL, 0x00, b"", length=V2_LENGTH), b"x", 1)
def test_reader_decides_within_its_bound_whatever_follows(
    mode: str, data: bytes, filler: bytes, step: int
) -> None:
    bound = V1_MAX if data.startswith(b"PROXY") else V2_HEAD + V2_LENGTH
    endless = data + filler * bound
    reader = ProxyReader(mode)
    kept = 0
    # What was fed without a decision is what the reader keeps.
    with suppress(RequestError):
        while reader.feed(endless[kept : kept + step]) is None:
            kept = min(kept + step, len(endless))
            assert kept < bound
