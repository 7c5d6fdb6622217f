"""A second step as a team would write it itself: FastAPI, pyotp and redis-py.

    REDIS_URL=redis://127.0.0.1:6379 uvicorn --no-access-log --timeout-keep-alive 75 --port PORT app:app
"""

import os
from typing import Annotated

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, StringConstraints
from pyotp import TOTP
from pyotp.exceptions import OTPVerificationError
from redis.asyncio import Redis

TOLERATED_FAILURES = 10
COUNTED_FOR = 3600  # seconds

app = FastAPI()
redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
# Of two requests with the same code at the same time, one keeps the step.
keep_step = redis.register_script("""
    if tonumber(ARGV[1]) <= tonumber(redis.call('HGET', KEYS[1], 'last_step')) then return 0 end
    redis.call('HSET', KEYS[1], 'last_step', ARGV[1])
    redis.call('DEL', KEYS[2])
    return 1
""")


class Credential(BaseModel):
    totpCode: Annotated[str, StringConstraints(pattern="^[0-9]{6}$")]


@app.post("/v1/users/{user}/verify")
async def verify(user: str, credential: Credential) -> JSONResponse:
    key, failures_key = f"totp:{user}", f"failures:{user}"
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.hmget(key, "secret", "last_step")
        pipeline.get(failures_key)
        (secret, last_step), failures = await pipeline.execute()
    if secret is None:
        return refusal(400, "NOT_ENROLLED")
    if int(failures or 0) >= TOLERATED_FAILURES:
        return refusal(429, "BACKOFF")

    try:
        step = TOTP(secret).verify_and_get_timecode(credential.totpCode, valid_window=1)
    except OTPVerificationError:
        step = 0
    if step <= int(last_step) or not await keep_step(keys=[key, failures_key], args=[step]):
        async with redis.pipeline() as pipeline:
            pipeline.incr(failures_key)
            pipeline.expire(failures_key, COUNTED_FOR)
            await pipeline.execute()
        return refusal(401, "INVALID_CODE")
    return JSONResponse({"method": "TOTP"})


def refusal(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"reason": reason}, status)
