"""The WSGI entry point. It makes the tables of a new database first: this is an example."""

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_app.settings")
application = get_wsgi_application()
call_command("migrate", run_syncdb=True, verbosity=0)
