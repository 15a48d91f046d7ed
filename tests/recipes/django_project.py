"""A Django project with the login views of three packages, each as its own documentation has it."""

import sys
from datetime import timedelta

import django
from django.conf import settings

settings.configure(
    DEBUG=True,
    SECRET_KEY="only for this test, and long enough for an HMAC key",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework.authtoken",
        "rest_framework_simplejwt.token_blacklist",
        "graphene_django",
    ],
    MIDDLEWARE=["django.contrib.auth.middleware.AuthenticationMiddleware"],
    AUTHENTICATION_BACKENDS=[
        "graphql_jwt.backends.JSONWebTokenBackend",
        "django.contrib.auth.backends.ModelBackend",
    ],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [
            {
                "jwt": "rest_framework_simplejwt.authentication.JWTAuthentication",
                "token": "rest_framework.authentication.TokenAuthentication",
            }[sys.argv[3]]
        ]
    },
    SIMPLE_JWT={"ACCESS_TOKEN_LIFETIME": timedelta(seconds=5), "ROTATE_REFRESH_TOKENS": True},
    GRAPHENE={"MIDDLEWARE": ["graphql_jwt.middleware.JSONWebTokenMiddleware"]},
    USE_TZ=True,
)
settings.MIDDLEWARE.insert(0, "django.contrib.sessions.middleware.SessionMiddleware")
settings.INSTALLED_APPS.append("django.contrib.sessions")
django.setup()

import graphene  # noqa: E402
import graphql_jwt  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.urls import path  # noqa: E402
from graphene_django.views import GraphQLView  # noqa: E402
from rest_framework.authtoken.views import obtain_auth_token  # noqa: E402
from rest_framework.decorators import api_view, permission_classes  # noqa: E402
from rest_framework.permissions import IsAuthenticated  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework_simplejwt.views import (  # noqa: E402
    TokenBlacklistView,
    TokenObtainPairView,
    TokenRefreshView,
)


@api_view()
@permission_classes([IsAuthenticated])
def me(request):
    return Response({"user": request.user.username})


class Query(graphene.ObjectType):
    me = graphene.String()

    @graphql_jwt.decorators.login_required
    def resolve_me(self, info):
        return info.context.user.username


class Mutation(graphene.ObjectType):
    token_auth = graphql_jwt.ObtainJSONWebToken.Field()


schema = graphene.Schema(query=Query, mutation=Mutation)
urlpatterns = [
    path("me/", me),
    path("api-token-auth/", obtain_auth_token),
    path("api/token/", TokenObtainPairView.as_view()),
    path("api/token/refresh/", TokenRefreshView.as_view()),
    path("api/token/blacklist/", TokenBlacklistView.as_view()),
    path("graphql", GraphQLView.as_view(schema=schema)),
]

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    User.objects.create_user("ada", password="correct horse")
    call_command("runserver", sys.argv[2], use_reloader=False)
