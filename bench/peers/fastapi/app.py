"""The contract's register, login, refresh and me, on FastAPI, psycopg 3, bcrypt and joserfc.

Asynchronous from end to end. What takes the processor for long, bcrypt, runs in threads (it releases the GIL), no more
at once than the machine has cores. One worker process a core shares the port.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import time
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
import bcrypt
from fastapi import Depends, FastAPI, Header, Request, status
from fastapi.responses import JSONResponse
from joserfc import jwe, jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import ECKey
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, StringConstraints

ISSUER = "auth-mvp"
AUDIENCE = "auth-mvp-clients"
ACCESS_TTL_SECONDS = 900
REFRESH_TTL_SECONDS = 1_209_600
SESSION_MAX_SECONDS = 7_776_000
CLOCK_SKEW_SECONDS = 60
FAMILY_BYTES = 16
TOKEN_BYTES = 48
BCRYPT_ROUNDS = int(os.environ["BCRYPT_ROUNDS"])
WORKERS = int(os.environ["WORKERS"])
POOL_SIZE = 10
SIGNING_ALGORITHMS = ["ES256"]
ENCRYPTION_ALGORITHMS = ["ECDH-ES+A256KW", "A256GCM"]

_keys = json.loads(Path(os.environ["KEYS_FILE"]).read_text())
signing_key = ECKey.import_key(_keys["sig"])
encryption_key = ECKey.import_key(_keys["enc"])
claims_registry = jwt.JWTClaimsRegistry(
    leeway=CLOCK_SKEW_SECONDS,
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": AUDIENCE},
    exp={"essential": True},
    sub={"essential": True},
    sid={"essential": True},
)
# The replicated claims of RFC 7519, section 5.3, are no header parameters that the library knows.
encryption_registry = jwe.JWERegistry(algorithms=ENCRYPTION_ALGORITHMS, strict_check_header=False)
stranger_hash = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(BCRYPT_ROUNDS))
pool = AsyncConnectionPool(
    os.environ["DATABASE_URL"],
    min_size=POOL_SIZE // WORKERS,
    max_size=POOL_SIZE // WORKERS,
    open=False,
    # Each statement commits by itself and is prepared at its first use.
    kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": 0},
)
hashing = anyio.CapacityLimiter(1)


class AuthError(Exception):
    def __init__(self, status_code: int, code: str, message: str) -> None:
        self.status_code = status_code
        self.code = code
        self.message = message


class Credentials(BaseModel):
    email: Annotated[str, StringConstraints(strip_whitespace=True, max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
    password: Annotated[str, StringConstraints(min_length=8, max_length=72)]


class RefreshRequest(BaseModel):
    refresh_token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{64}$")]


class User(BaseModel):
    id: uuid.UUID
    email: str
    email_verified: bool


class Tokens(BaseModel):
    access_token: str
    refresh_token: str
    token_type: str = "Bearer"
    expires_in: int = ACCESS_TTL_SECONDS


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    await pool.open(wait=True)
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan)


@app.exception_handler(AuthError)
async def answer_error(_request: Request, error: AuthError) -> JSONResponse:
    return JSONResponse({"error": {"code": error.code, "message": error.message}}, status_code=error.status_code)


@app.post("/auth/register", status_code=status.HTTP_201_CREATED)
async def register(credentials: Credentials) -> User:
    password_hash = await in_thread(bcrypt.hashpw, credentials.password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS))
    row = await fetch_one(
        """insert into users (email, password_hash) values (%s, %s)
           on conflict (email) do nothing returning id, email, email_verified""",
        (credentials.email, password_hash.decode()),
    )
    if row is None:
        raise AuthError(409, "AUTH_EMAIL_TAKEN", "The email is already registered")
    return User.model_construct(**row)


@app.post("/auth/login")
async def login(credentials: Credentials, request: Request) -> Tokens:
    user = await fetch_one("select id, password_hash from users where email = %s", (credentials.email,))
    password_hash = user["password_hash"].encode() if user else stranger_hash
    matches = await in_thread(bcrypt.checkpw, credentials.password.encode(), password_hash)
    if user is None or not matches:
        raise AuthError(401, "AUTH_INVALID_CREDENTIALS", "The email or the password is wrong")
    token = secrets.token_bytes(TOKEN_BYTES)
    session = await fetch_one(
        """insert into refresh_tokens (id, user_id, token_hash, user_agent, ip, expires_at, ends_at)
           values (%s, %s, %s, %s, %s, now() + make_interval(secs => %s), now() + make_interval(secs => %s))
           returning id, user_id""",
        (
            session_id_of(token),
            user["id"],
            sha256(token),
            request.headers.get("user-agent"),
            request.client.host if request.client else None,
            REFRESH_TTL_SECONDS,
            SESSION_MAX_SECONDS,
        ),
    )
    assert session is not None
    return tokens_for(session, token)


@app.post("/auth/token/refresh")
async def refresh(body: RefreshRequest) -> Tokens:
    presented = from_base64url(body.refresh_token)
    salt = secrets.token_bytes(32)
    successor = presented[:FAMILY_BYTES] + hmac.digest(presented, salt, "sha256")
    session_id = session_id_of(presented)
    session = await fetch_one(
        """update refresh_tokens
              set token_hash = %s, parent_hash = token_hash, rotation_salt = %s, issued_at = now(),
                  expires_at = least(now() + make_interval(secs => %s), ends_at)
            where id = %s and token_hash = %s and revoked_at is null and expires_at > now()
        returning id, user_id""",
        (sha256(successor), salt, REFRESH_TTL_SECONDS, session_id, sha256(presented)),
    )
    if session is not None:
        return tokens_for(session, successor)
    reused = await fetch_one(
        """update refresh_tokens set revoked_at = coalesce(revoked_at, now())
            where id = %s returning id""",
        (session_id,),
    )
    if reused is None:
        raise AuthError(401, "AUTH_REFRESH_NOT_FOUND", "There is no such refresh token")
    raise AuthError(401, "AUTH_TOKEN_REVOKED", "The session has been revoked")


async def access_claims(authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
    match = re.fullmatch(r"Bearer +([^ ]+)", authorization, re.IGNORECASE)
    if match is None:
        raise AuthError(401, "AUTH_TOKEN_INVALID", "The access token is missing")
    return verify_access_token(match[1])


@app.get("/auth/me")
async def me(claims: Annotated[dict[str, Any], Depends(access_claims)]) -> User:
    row = await fetch_one(
        """select users.id, users.email, users.email_verified
             from refresh_tokens join users on users.id = refresh_tokens.user_id
            where refresh_tokens.id = %s and users.id = %s and refresh_tokens.revoked_at is null""",
        (claims["sid"], claims["sub"]),
    )
    if row is None:
        raise AuthError(401, "AUTH_TOKEN_REVOKED", "The session has been revoked")
    return User.model_construct(**row)


async def fetch_one(statement: str, values: tuple[Any, ...]) -> dict[str, Any] | None:
    async with pool.connection() as connection:
        cursor = await connection.execute(statement, values)
        return await cursor.fetchone()


async def in_thread(work: Any, *arguments: Any) -> Any:
    return await anyio.to_thread.run_sync(work, *arguments, limiter=hashing)


def tokens_for(session: dict[str, Any], refresh_token: bytes) -> Tokens:
    return Tokens.model_construct(access_token=issue_access_token(session), refresh_token=to_base64url(refresh_token))


def issue_access_token(session: dict[str, Any]) -> str:
    now = int(time.time())
    copied = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + ACCESS_TTL_SECONDS,
        "jti": str(uuid.uuid4()),
    }
    claims = {"sub": str(session["user_id"]), "sid": str(session["id"]), **copied}
    inner_header = {"alg": "ES256", "typ": "at+jwt", "kid": signing_key.kid}
    signed = jws.serialize_compact(
        inner_header, json.dumps(claims, separators=(",", ":")), signing_key, algorithms=SIGNING_ALGORITHMS
    )
    outer_header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "cty": "JWT", "kid": encryption_key.kid, **copied}
    return jwe.encrypt_compact(outer_header, signed, encryption_key, registry=encryption_registry)


def verify_access_token(token: str) -> dict[str, Any]:
    try:
        outer = jwe.decrypt_compact(token, encryption_key, registry=encryption_registry)
        inner = jwt.decode(outer.plaintext or b"", signing_key, algorithms=SIGNING_ALGORITHMS)
        claims_registry.validate(inner.claims)
        if outer.headers().get("cty") != "JWT" or inner.header.get("typ") != "at+jwt":
            raise AuthError(401, "AUTH_TOKEN_INVALID", "The access token is invalid")
        if any(outer.headers().get(name) != inner.claims.get(name) for name in ("iss", "aud", "iat", "exp", "jti")):
            raise AuthError(401, "AUTH_TOKEN_INVALID", "The access token is invalid")
        return inner.claims
    except ExpiredTokenError as error:
        raise AuthError(401, "AUTH_TOKEN_EXPIRED", "The access token has expired") from error
    except (JoseError, ValueError) as error:
        raise AuthError(401, "AUTH_TOKEN_INVALID", "The access token is invalid") from error


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def session_id_of(token: bytes) -> uuid.UUID:
    digest = bytearray(sha256(token[:FAMILY_BYTES])[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(digest))


def to_base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return urlsafe_b64decode(text)
