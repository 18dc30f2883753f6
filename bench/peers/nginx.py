"""nginx as a plain proxy: it checks nothing, counts nothing and forwards."""

import getpass
import os
import shutil

from bench.peers.peer import FOLDER, NGINX, NOT_INSTALLED, Absent, Place, said
from gateway.local.processes import Service

CONFIGURATION = """
daemon off; user {user}; pid {run}/nginx.pid; error_log {run}/nginx-errors.log error; worker_processes 1;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {run}/body; proxy_temp_path {run}/proxy; fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi; scgi_temp_path {run}/scgi;
    keepalive_requests 100000000;
    upstream mock {{ server 127.0.0.1:{upstream_port}; keepalive 1024; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        client_max_body_size 32m; client_body_buffer_size 64k;
        location / {{
            proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
        }}
    }}
}}
"""


class Nginx:
    name = NGINX
    folder = FOLDER / "nginx"

    def install(self) -> None:
        """Debian's package, unpacked and not set up, where the machine has none."""
        if self._found() is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        said("sh", "-c", f"cd '{self.folder}' && apt-get download -q nginx && dpkg-deb -x nginx_*.deb .")

    def about(self) -> str:
        return f"{said(self._program(), '-v').partition('nginx/')[2]}, one worker, a plain proxy"

    def services(self, place: Place) -> dict[str, Service]:
        run, configuration = place.run, place.run / "nginx.conf"
        words = {"user": getpass.getuser(), "run": run, "port": place.port, "upstream_port": place.upstream_port}
        configuration.write_text(CONFIGURATION.format(**words))
        argv = [self._program(), "-p", str(run), "-e", str(run / "nginx-errors.log"), "-c", str(configuration)]
        return {"gateway": Service(name=self.name, argv=argv, log=run / "nginx.log")}

    def headers(self, place: Place) -> tuple[str, ...]:
        return ()

    def _program(self) -> str:
        found = self._found()
        if found is None:
            raise Absent(NOT_INSTALLED)
        return found

    def _found(self) -> str | None:
        places = [os.environ.get("PATH", ""), "/usr/sbin", str(self.folder / "usr" / "sbin")]
        return shutil.which("nginx", path=os.pathsep.join(places))
