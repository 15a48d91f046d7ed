"""A Flask app with the login of one of two packages, each as its own documentation has it."""

import sys
from datetime import timedelta

from flask import Flask, jsonify, request

SECRET = "only for this test, and long enough for an HMAC key"
MAIL, PASSWORD = "ada@example.com", "correct horse"

database, port, package = sys.argv[1:]
app = Flask(__name__)
app.config.update(SECRET_KEY=SECRET, SQLALCHEMY_DATABASE_URI=f"sqlite:///{database}")


def with_jwt_extended():
    from flask_jwt_extended import (
        JWTManager,
        create_access_token,
        create_refresh_token,
        get_jwt_identity,
        jwt_required,
    )

    app.config.update(JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=5))
    JWTManager(app)

    @app.post("/login")
    def login():
        if request.json != {"username": "ada", "password": PASSWORD}:
            return jsonify({"msg": "Bad username or password"}), 401
        access_token, refresh_token = create_access_token("ada"), create_refresh_token("ada")
        return jsonify(access_token=access_token, refresh_token=refresh_token)

    @app.post("/refresh")
    @jwt_required(refresh=True)
    def refresh():
        return jsonify(access_token=create_access_token(get_jwt_identity()))

    @app.get("/protected")
    @jwt_required()
    def protected():
        return jsonify(logged_in_as=get_jwt_identity())


def with_security():
    from flask_security import (
        Security,
        SQLAlchemyUserDatastore,
        auth_token_required,
        current_user,
        hash_password,
    )
    from flask_security.models import fsqla_v3
    from flask_sqlalchemy import SQLAlchemy

    app.config.update(SECURITY_PASSWORD_SALT="only for this test", WTF_CSRF_ENABLED=False)
    db = SQLAlchemy(app)
    fsqla_v3.FsModels.set_db_info(db)

    class Role(db.Model, fsqla_v3.FsRoleMixin):
        pass

    class User(db.Model, fsqla_v3.FsUserMixin):
        pass

    security = Security(app, SQLAlchemyUserDatastore(db, User, Role))

    @app.get("/protected")
    @auth_token_required
    def protected():
        return jsonify(logged_in_as=current_user.email)

    with app.app_context():
        db.create_all()
        security.datastore.create_user(email=MAIL, password=hash_password(PASSWORD))
        db.session.commit()


{"jwt-extended": with_jwt_extended, "security": with_security}[package]()
app.run(port=int(port))
