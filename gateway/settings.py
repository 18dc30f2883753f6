"""Settings, read from the environment once at start: docs/settings.md. Unknown or unsafe values stop here."""

from pathlib import Path

from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured

from gateway.environment import Environment
from gateway.local import embedded

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment(BASE_DIR)

# Which instance this is -----------------------------------------------------------------------------------------------
TOLLGATE_VAR = env.folder
TOLLGATE_ENV = env.mode
PRODUCTION = env.mode == "production"
EMBEDDED = env.embedded
DEBUG = False

# Secrets --------------------------------------------------------------------------------------------------------------
SECRET_KEY = env.secret("SECRET_KEY")
KEY_PEPPERS = env.peppers("KEY_PEPPERS")
SEALING_KEYS = env.sealing_keys("SEALING_KEYS")
METRICS_TOKEN = env.text("METRICS_TOKEN", "")

# Parts ----------------------------------------------------------------------------------------------------------------
DATABASE_URL = env.database_url(embedded.database_url(TOLLGATE_VAR))
DATABASES = {"default": {**env.database(DATABASE_URL), "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}}
REDIS_URL = env.redis_url("REDIS_URL", embedded.redis_url(TOLLGATE_VAR))
BROKER_URL = env.redis_url("BROKER_URL", REDIS_URL)
SPOOL_DIR = env.path("SPOOL_DIR", TOLLGATE_VAR / "spool")

# Web ------------------------------------------------------------------------------------------------------------------
PUBLIC_URL = env.text("PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/")
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL.startswith("https://") else []
ROOT_URLCONF = "gateway.urls"
ASGI_APPLICATION = "gateway.asgi.application"
APPEND_SLASH = False

# Bounds of the data plane (seconds, bytes, counts) --------------------------------------------------------------------
MAX_BODY_BYTES = env.number("TOLLGATE_MAX_BODY_BYTES", 32 * 1024 * 1024, least=1024)
MAX_EVENT_BYTES = env.number("TOLLGATE_MAX_EVENT_BYTES", 32 * 1024 * 1024, least=64 * 1024)
UPSTREAM_CONNECT_SECONDS = env.seconds("TOLLGATE_UPSTREAM_CONNECT_SECONDS", 5)
UPSTREAM_READ_SECONDS = env.seconds("TOLLGATE_UPSTREAM_READ_SECONDS", 600)
KEEPALIVE_SECONDS = env.seconds("TOLLGATE_KEEPALIVE_SECONDS", 15, least=0)
UPSTREAM_CONNECTIONS = env.number("TOLLGATE_UPSTREAM_CONNECTIONS", 2000, least=1)
UPSTREAM_MODELS_SECONDS = env.seconds("TOLLGATE_UPSTREAM_MODELS_SECONDS", 300)
DRAIN_SECONDS = env.seconds("TOLLGATE_DRAIN_SECONDS", 30)
DRAIN_OUTPUT_TOKENS = env.number("TOLLGATE_DRAIN_OUTPUT_TOKENS", 2000, least=0)
DRAIN_STREAMS = env.number("TOLLGATE_DRAIN_STREAMS", 64, least=0)
SHUTDOWN_SECONDS = env.seconds("TOLLGATE_SHUTDOWN_SECONDS", 60)
COUNT_SECONDS = env.seconds("TOLLGATE_COUNT_SECONDS", 2)
COUNTS_AT_ONCE = env.number("TOLLGATE_COUNTS_AT_ONCE", 8, least=1)
READS_AT_ONCE = env.number("TOLLGATE_READS_AT_ONCE", 64, least=1)
DEFAULT_OUTPUT_TOKENS = env.number("TOLLGATE_DEFAULT_OUTPUT_TOKENS", 16_384, least=256)
DEFAULT_TOOL_CALLS = env.number("TOLLGATE_DEFAULT_TOOL_CALLS", 8, least=1)
TOOL_INPUT_TOKENS = env.number("TOLLGATE_TOOL_INPUT_TOKENS", 32_000, least=0)
HARMLESS_IDS = env.names("TOLLGATE_HARMLESS_IDS")
HOLD_SECONDS = env.seconds("TOLLGATE_HOLD_SECONDS", 1)
SETTLE_SECONDS = env.seconds("TOLLGATE_SETTLE_SECONDS", 0.25)
REVISION_POLL_SECONDS = env.seconds("TOLLGATE_REVISION_POLL_SECONDS", 1)
SNAPSHOT_MAX_AGE_SECONDS = env.seconds("TOLLGATE_SNAPSHOT_MAX_AGE_SECONDS", 60)
KEY_USE_FLUSH_SECONDS = env.seconds("TOLLGATE_KEY_USE_FLUSH_SECONDS", 10)
HEARTBEAT_SECONDS = env.seconds("TOLLGATE_HEARTBEAT_SECONDS", 5)
RECOVERY_SECONDS = env.seconds("TOLLGATE_RECOVERY_SECONDS", 10)
AUDIT_SECONDS = env.seconds("TOLLGATE_AUDIT_SECONDS", 60)
HOST_LOOK_SECONDS = env.seconds("TOLLGATE_HOST_LOOK_SECONDS", 30)
HOST_SILENT_SECONDS = env.seconds("TOLLGATE_HOST_SILENT_SECONDS", 600)
PROGRESS_SECONDS = env.seconds("TOLLGATE_PROGRESS_SECONDS", 10)
SPOOL_BYTES = env.number("TOLLGATE_SPOOL_BYTES", 1 << 30, least=64 << 20)
POSTING_SECONDS = env.seconds("TOLLGATE_POSTING_SECONDS", 10)
RECONCILE_SECONDS = env.seconds("TOLLGATE_RECONCILE_SECONDS", 300)
KEY_ROTATION_GRACE_HOURS = env.number("TOLLGATE_KEY_ROTATION_GRACE_HOURS", 24, least=0)
FAULTS = env.faults("TOLLGATE_FAULTS")
LOG_LEVEL = env.choice("TOLLGATE_LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
env.refuse_unknown()

# Django ---------------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "gateway.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "accounts.apps.AccountsConfig",
    "billing.apps.BillingConfig",
    "gateway.apps.GatewayConfig",
]
MIDDLEWARE = [  # for everything but /v1, which gateway/dataplane.py serves without any
    "gateway.health.answer_machines",  # first: a probe has neither our host name nor https
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "console:login"
LOGIN_REDIRECT_URL = "console:today"
LOGOUT_REDIRECT_URL = "console:login"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
FORMAT_MODULE_PATH = ["gateway.formats"]
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = not PRODUCTION
if PRODUCTION:  # `manage.py collectstatic` comes first; names then bear a digest, so that browsers may keep the files
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "servestatic.storage.CompressedManifestStaticFilesStorage"},
    }

# Security -------------------------------------------------------------------------------------------------------------
HTTPS = PUBLIC_URL.startswith("https://")
if PRODUCTION and not HTTPS:
    raise ImproperlyConfigured("PUBLIC_URL: set it to the https:// address that tenants and staff use.")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_NAME = "__Host-session" if HTTPS else "tollgate-session"
CSRF_COOKIE_NAME = "__Host-csrf" if HTTPS else "tollgate-csrf"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

# Management API -------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.CursorPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "PAGE_SIZE": 50,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tollgate management API",
    "DESCRIPTION": "Keys and usage, for staff and members of organizations.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
}

# Jobs -----------------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = BROKER_URL.replace("unix://", "redis+socket://", 1)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # A killed worker's task comes back after about 16 s; with the defaults of the last two it took 111 s.
    "visibility_timeout": 300,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "post-settled": {
        "task": "billing.tasks.post_settled",
        "schedule": POSTING_SECONDS,
        "options": {"expires": POSTING_SECONDS},
    },
    "reap-lost-hosts": {
        "task": "gateway.tasks.reap_lost_hosts",
        "schedule": HOST_LOOK_SECONDS,
        "options": {"expires": HOST_LOOK_SECONDS},
    },
    "measure-ratios": {"task": "billing.tasks.measure_ratios", "schedule": 3600.0},
    "reconcile-recent": {
        "task": "billing.tasks.reconcile_recent",
        "schedule": RECONCILE_SECONDS,
        "options": {"expires": RECONCILE_SECONDS},
    },
    # At a time of day, or more often than beat is ever started anew: beat remembers nothing.
    "reconcile-everything": {"task": "billing.tasks.reconcile_everything", "schedule": crontab(hour=3, minute=17)},
    "make-partitions": {"task": "billing.tasks.make_partitions", "schedule": 3600.0},
}
CELERY_BEAT_SCHEDULER = "gateway.beat:Scheduler"
BEAT_SIGN = TOLLGATE_VAR / "beat"

# Logs -----------------------------------------------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "gateway.redaction.RedactingFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
}
