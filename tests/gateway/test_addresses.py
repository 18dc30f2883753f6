import asyncio
from ipaddress import ip_address

import pytest

from gateway.addresses import ForbiddenAddress, Origin, is_public, origin_of, resolve

PUBLIC = ["8.8.8.8", "1.1.1.1", "104.18.7.192", "172.15.0.1", "172.32.0.1", "100.63.0.1", "169.253.0.1", "198.20.0.1",
          "2606:4700::6810:1", "2a00:1450:4001::200e", "2001:4860:4860::8888"]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.255.0.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.127.255.255", "100.100.100.200", "192.0.0.1", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "168.63.129.16", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:808:808::1",
    "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2001:10::1", "3fff::1", "5f00::1", "100::1", "fc00::1",
    "fd00:ec2::254",
    "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_out_on_the_internet_may_be_an_upstream(address):
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_may_be_none(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://api.openai.com/v1", "api.openai.com", 443), ("https://API.openai.com:8443", "api.openai.com", 8443),
        ("HTTPS://api.openai.com", "api.openai.com", 443), ("https://[2606:4700::1]:444/v1", "2606:4700::1", 444),
        ("https://xn--bcher-kva.example/v1", "xn--bcher-kva.example", 443), ("https://a.example:/v1", "a.example", 443),
        ("https://8.8.8.8", "8.8.8.8", 443),
    ],
)  # fmt: skip
def test_an_origin_is_read_from_a_url(url, host, port):
    assert origin_of(url, allow_private=False) == Origin("https", host, port)


def test_plain_http_is_for_upstreams_that_may_be_private():
    with pytest.raises(ForbiddenAddress, match="use https"):
        origin_of("http://a.example", allow_private=False)
    assert origin_of("http://a.example/v1", allow_private=True) == Origin("http", "a.example", 80, allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "", "api.openai.com", "//api.openai.com", "/v1", "ftp://a.example", "file:///etc/passwd",
        "gopher://a.example:6379/_x",
        "https://", "https:///v1", "https:a.example", "https://:443", "https://[::1", "https://[x]/",
        "https://a.example:x",
        "https://a.example:99999", "https://a.example:-1", "https://a.example:+443", "https://u@a.example",
        "https://u:p@a.example",
        "https://@a.example", "https://a.example@127.0.0.1", "https://a.example?x=1", "https://a.example/?",
        "https://a.example/#x",
        "https://a.example\\@127.0.0.1", "https://a.example\\.b.example", "https://a.example /", " https://a.example",
        "https://a\n.example", "https://a.example/\t", "https://a.example/\0", "https://bücher.example",
        "https://１２７.0.0.1",
        "https://a.example/\u200b", "javascript:alert(1)", "https://a.example/é",
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow_private", [False, True])
def test_a_url_that_is_none_or_hides_something_is_refused(url, allow_private):
    with pytest.raises(ForbiddenAddress):
        origin_of(url, allow_private=allow_private)


NAMES_OF_LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "0177.0.0.1",
    "0x7f000001",
    "2130706433",
    "localhost",
    "::1",
    "::ffff:7f00:1",
    "0",
]


@pytest.mark.parametrize("host", NAMES_OF_LOOPBACK)
async def test_every_name_of_this_machine_is_resolved_before_it_is_judged(host):
    with pytest.raises(ForbiddenAddress, match="no public address"):
        await resolve(Origin("https", host, 443))
    assert all(ip_address(found) for found in await resolve(Origin("https", host, 443, allow_private=True)))


async def test_of_several_addresses_only_the_public_ones_are_given(monkeypatch):
    found = ["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1", "169.254.169.254"]

    async def look_up(host, port, **_):
        return [(2, 1, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    assert await resolve(Origin("https", "a.example", 443)) == ["8.8.8.8", "2606:4700::1"]
    assert await resolve(Origin("https", "a.example", 443, allow_private=True)) == found


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
async def test_a_name_that_cannot_be_one_is_refused(host):
    with pytest.raises(ForbiddenAddress, match="no host name"):
        await resolve(Origin("https", host, 443))
