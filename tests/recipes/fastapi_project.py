"""FastAPI Users with its JWT backend and SQLite, as its own documentation has it."""

import asyncio
import sys

import uvicorn
from fastapi import Depends, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

SECRET = "only for this test, and long enough for an HMAC key"
engine = create_async_engine(f"sqlite+aiosqlite:///{sys.argv[1]}")
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


class Manager(UUIDIDMixin, BaseUserManager):
    reset_password_token_secret = verification_token_secret = SECRET


async def database():
    async with sessions() as session:
        yield SQLAlchemyUserDatabase(session, User)


async def manager(users=Depends(database)):  # noqa: B008
    yield Manager(users)


backend = AuthenticationBackend(
    name="jwt",
    transport=BearerTransport(tokenUrl="auth/jwt/login"),
    get_strategy=lambda: JWTStrategy(secret=SECRET, lifetime_seconds=3600),
)
users = FastAPIUsers(manager, [backend])
app = FastAPI(docs_url=None)
if len(sys.argv) > 3:  # /docs with the Swagger UI of this folder, instead of one from elsewhere
    app.mount("/swagger", StaticFiles(directory=sys.argv[3]))
    remembers = {"persistAuthorization": True}

    @app.get("/docs", include_in_schema=False)
    def docs():
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Swagger UI",
            swagger_js_url="/swagger/swagger-ui-bundle.js",
            swagger_css_url="/swagger/swagger-ui.css",
            swagger_favicon_url="/swagger/favicon-32x32.png",
            swagger_ui_parameters=remembers,
        )


app.include_router(users.get_auth_router(backend), prefix="/auth/jwt")
app.include_router(
    users.get_register_router(schemas.BaseUser, schemas.BaseUserCreate), prefix="/auth"
)
app.include_router(
    users.get_users_router(schemas.BaseUser, schemas.BaseUserUpdate), prefix="/users"
)


async def main():
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    config = uvicorn.Config(app, port=int(sys.argv[2]), log_level="warning")
    await uvicorn.Server(config).serve()


asyncio.run(main())
