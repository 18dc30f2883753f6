# syntax=docker/dockerfile:1
# One image for web, worker, beat and migrate (docker-compose.yml). Runs as nobody in particular, on a read-only root.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv --without-pip /opt/venv
COPY requirements.txt /tmp/
RUN python -m pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r /tmp/requirements.txt
WORKDIR /app
COPY . .
# Settings want secrets before they say anything: these are made here, used once, and kept nowhere.
RUN TOLLGATE_ENV=production DATABASE_URL=postgres://build/build REDIS_URL=redis://build \
    PUBLIC_URL=https://build ALLOWED_HOSTS=build \
    SECRET_KEY="$(head -c 32 /dev/urandom | base64)" \
    KEY_PEPPERS="1:$(head -c 32 /dev/urandom | base64)" \
    SEALING_KEYS="1:$(head -c 32 /dev/urandom | base64)" \
    /opt/venv/bin/python manage.py collectstatic --noinput \
    && /opt/venv/bin/python -m compileall -q accounts billing gateway

FROM python:3.13-slim
RUN python -m pip uninstall --yes --quiet --root-user-action ignore pip \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/tollgate /var/lib/tollgate/spool
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=gateway.settings TOLLGATE_ENV=production TOLLGATE_VAR=/var/lib/tollgate
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# The gateway answers to its own names only, so the question bears the first of them.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8000/healthz', headers={'Host': os.environ['ALLOWED_HOSTS'].split(',')[0].strip()}), timeout=4)"]
# As gateway/local/instance.py runs it, but for the address and the proxy in front, which FORWARDED_ALLOW_IPS names: from
# nobody else is X-Forwarded-For or X-Forwarded-Proto believed.
CMD ["python", "-m", "uvicorn", "gateway.asgi:application", "--lifespan", "on", "--ws", "none", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-server-header", "--proxy-headers", "--timeout-keep-alive", "75", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "60"]
