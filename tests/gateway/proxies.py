"""nginx and haproxy before a gateway, as careless as they can be made, and with a rule against `?hidden=`."""

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager

import pytest

from tests.tenants import until

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/log; {user}
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; client_header_timeout 1s; client_body_timeout 1s;
  keepalive_timeout 300ms;
  ignore_invalid_headers off; underscores_in_headers on; large_client_header_buffers 8 512k; merge_slashes off;
  upstream gateway {{ server {gateway}; keepalive 4; }}
  server {{
    listen unix:{socket};
    if ($args ~ hidden) {{ return 403; }}
    location / {{
      proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host localhost; proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""
HAPROXY = """
global
  maxconn 512
  tune.bufsize 524288
  tune.http.maxhdr 8192
defaults
  mode http
  timeout connect 2s
  timeout client 1s
  timeout server 10s
  timeout http-request 1s
  timeout http-keep-alive 300ms
  http-reuse always
frontend all
  bind unix@{socket}
  http-request deny if {{ query -m sub hidden }}
  default_backend gateway
backend gateway
  server one {gateway}
"""
COMMANDS = {
    "nginx": (NGINX, ["-p", "{folder}", "-c", "{file}"]),
    "haproxy": (HAPROXY, ["-db", "-f", "{file}"]),
}


@contextmanager
def proxy(name, gateway, folder):
    """The path of the Unix socket that it listens on; the test is skipped where it is not installed."""
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    text, arguments = COMMANDS[name]
    places = {"folder": folder, "file": folder / "conf", "socket": folder / "listening"}
    places |= {"gateway": gateway.origin.removeprefix("http://"), "user": "user root;" if os.geteuid() == 0 else ""}
    places["file"].write_text(text.format(**places))
    with (folder / "said").open("wb") as said:
        running = subprocess.Popen([program, *(each.format(**places) for each in arguments)], stdout=said, stderr=said)
    try:
        until(lambda: _listens(places["socket"]) or running.poll() is not None)
        assert running.poll() is None, (folder / "said").read_text()
        yield places["socket"]
    finally:
        running.terminate()
        running.wait(10)


def _listens(path):
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0
