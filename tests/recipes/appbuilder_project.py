"""A Flask-AppBuilder application with its security API, as its own documentation has it."""

import sys
from datetime import timedelta

from flask import Flask, g
from flask_appbuilder import AppBuilder
from flask_appbuilder.api import BaseApi, expose
from flask_appbuilder.security.decorators import protect
from flask_appbuilder.utils.legacy import get_sqla_class

database, port = sys.argv[1:]
app = Flask(__name__)
app.config.update(
    SECRET_KEY="only for this test, and long enough for an HMAC key",
    SQLALCHEMY_DATABASE_URI=f"sqlite:///{database}",
    JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=5),
)


class Me(BaseApi):
    resource_name = "me"

    @expose("/")
    @protect()
    def get(self):
        return self.response(200, user=g.user.username)


db = get_sqla_class()()
db.init_app(app)
with app.app_context():
    appbuilder = AppBuilder(app, db.session)
    appbuilder.add_api(Me)
    security = appbuilder.sm
    role = security.find_role("Admin")
    security.add_user("ada", "Ada", "L", "ada@example.com", role, "correct horse")
app.run(port=int(port))
