"""Requests that two readers of HTTP may take for different ones, and requests that hardly are any, byte for byte.

Each asks for `?case=NUMBER`; another one for `?hidden=NUMBER` may stand in it or follow it.
"""

BODY = b'{"model":"sim-ok","input":"hi"}'
CODINGS = (
    b"chunked", b"Chunked", b"chunked, identity", b"identity, chunked", b"xchunked", b"chunked\x0b", b" chunked",
    b"chunked ", b"chunked, chunked", b"gzip, chunked", b"identity", b'"chunked"',
)  # fmt: skip
NAMES = (
    b"Transfer-Encoding:", b"Transfer-Encoding :", b"Transfer_Encoding:", b"transfer-encoding:\t",
    b"X: y\nTransfer-Encoding:", b"X: y\rTransfer-Encoding:", b"X: y\r\n Transfer-Encoding:",
)  # fmt: skip
LENGTHS = (
    b"+31", b"-1", b"0x1f", b"31, 31", b"31,0", b"3 1", b"31\r\nContent-Length: 0", b"1e1", b"", b"0" * 40, b"9" * 40,
    b"31\r\ncontent_length: 0", b"\x0b31", b"31;0", "３１".encode(),
)  # fmt: skip
SIZES = (b"-1f", b"0x1f", b"1f;a=\n", b"1f ", b"+1f", b"f" * 17, b"1f\n", b"1F;" + b"x" * 70_000, b"")
LINES = (
    b"X\x00Y: z", b"X: a\x00b", b"X: a\rb", b"X: a\nb", b" Folded: x", b"\tFolded: x", b": x", b"X", b"X y: z",
    b"X\xff: y", b"(x): y", b"X: " + b"y" * 200_000, b"Y" * 200_000 + b": x", b"X: \x7f\x01", b"X:\r\n \r\n y",
    b"X_Y: z\r\nX-Y: w", b"Authorization: Bearer other", b"Host: other", b"Authorization_: x",
    b"\r\n".join(b"X-%d: y" % number for number in range(5_000)),
)  # fmt: skip
TARGETS = (
    b"/v1/responses HTTP/1.1\r\nX: y", b"/v1/../v1/responses", b"//v1/responses", b"/v1/responses\x00", b"*",
    b"/v1/responses#x", b"http://other/v1/responses", b"/v1/" + b"x" * 100_000, b"", b"/v1/res ponses",
    b"/v1/responses\t", b"\xff", b"/v1/responses?\xff\xfe", b"/v1/responses?" + b"a" * 50_000,
)  # fmt: skip
STARTS = (
    b"POST /v1/responses\r\n", b"POST /v1/responses HTTP/9.9\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00", b"\r\n" * 5_000, b"GET / HTTP/1.1\n\n", b"\x00" * 5_000, b"POST",
)  # fmt: skip
# In these the other one lies within what Content-Length says.
INSIDE = range(0, 3 * len(CODINGS) * len(NAMES), 3)


def odd_requests(tenant):
    """All of them, each as the bytes that are sent; its place is its number."""
    return [make(number) for number, make in enumerate(_makers(tenant))]


def asked_again(tenant):
    """A request like any other."""
    return _head(tenant, b"/v1/responses", _length(BODY), b"Connection: close") + BODY


def _makers(tenant):
    for coding in CODINGS:
        for name in NAMES:
            yield from _two_framings(tenant, name + b" " + coding)
    for length in LENGTHS:
        yield _made(tenant, [b"Content-Length: " + length], lambda hidden: BODY + hidden)
    for size in SIZES:
        chunk = size + b"\r\n" + BODY + b"\r\n0\r\n\r\n"
        yield _made(tenant, [b"Transfer-Encoding: chunked"], lambda hidden, chunk=chunk: chunk + hidden)
    for line in LINES:
        yield _made(tenant, [line, _length(BODY)], lambda _: BODY)
    for target in TARGETS:
        yield lambda _, target=target: _head(tenant, target, _length(BODY)) + BODY
    for start in STARTS:
        yield lambda _, start=start: start


def _two_framings(tenant, coding):
    """The body is longer by its length than by its chunks (INSIDE), or as long, or shorter."""
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    yield lambda number: _by_length_and_coding(tenant, number, coding)
    yield _made(tenant, [coding, _length(chunks)], lambda hidden: chunks + hidden)
    yield _made(tenant, [b"Content-Length: 4", coding], lambda _: chunks)


def _by_length_and_coding(tenant, number, coding):
    body = b"0\r\n\r\n" + _hidden(tenant, number)
    return _head(tenant, b"/v1/responses?case=%d" % number, _length(body), coding) + body


def _made(tenant, fields, body_of):
    def make(number):
        return _head(tenant, b"/v1/responses?case=%d" % number, *fields) + body_of(_hidden(tenant, number))

    return make


def _hidden(tenant, number):
    return _head(tenant, b"/v1/responses?hidden=%d" % number, _length(BODY)) + BODY


def _head(tenant, target, *fields):
    lines = (b"POST %b HTTP/1.1" % target, b"Host: localhost", b"Authorization: Bearer " + tenant.secret.encode())
    return b"\r\n".join((*lines, *fields)) + b"\r\n\r\n"


def _length(body):
    return b"Content-Length: %d" % len(body)
