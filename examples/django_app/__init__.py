"""A small Django project: sqlite, sessions, a form with CSRF protection, an upload.

    pip install django
    cd examples
    poolhttp serve django_app.wsgi:application
    gunicorn -k poolhttp.worker.EpollWorker django_app.wsgi:application

`hello.py` has the same paths without a framework.
"""
