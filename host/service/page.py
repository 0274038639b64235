# SPDX-License-Identifier: Apache-2.0
"""The page and what it asks for: models, the device's state, sample pictures, and a picture's result to look at."""

import asyncio
import io
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image as Picture

from host.expert_choices import Choices
from host.images import decode_picture, fitted
from host.performance.layers import PredictedLayer, predicted_layers
from host.service.bodies import Form, form_of
from host.service.errors import BadRequest, Refused
from host.service.experts import chosen_experts, why_not
from host.service.models import Model
from host.service.protocol import figures
from host.service.service import Service
from host.service.tensors import MOST_PIXELS
from host.service.views import experts_view, input_view, maps, time_view

FILES = Path(__file__).parent / "page"
SAMPLES = (2, 6, 11, 20)
"""Scenes that the page offers, of a series that training has not seen."""
SERIES, SIZE = 1, (256, 512)
FIELDS = {"model", "task", "experts"}


def routes(service: Service) -> APIRouter:
    """The page, its files, and what they ask for."""
    router, models = APIRouter(), service.models
    references = ThreadPoolExecutor(1, "edge-moe-reference")

    @router.get("/")
    def page() -> FileResponse:
        return FileResponse(FILES / "index.html", media_type="text/html")

    @router.get("/samples/{number}.png")
    async def sample(number: int) -> Response:
        if not 0 <= number < len(SAMPLES):
            raise Refused(404, "NoSuchSample", f"There are the samples 0 to {len(SAMPLES) - 1}.")
        return Response(await service.aside(_sample, number), media_type="image/png",
                        headers={"Cache-Control": "max-age=86400"})

    @router.get("/api/models")
    def offered() -> dict:
        return {"samples": len(SAMPLES), "models": [
            {"name": name, "tasks": list(model.tasks), "height": model.input.shape[0], "width": model.input.shape[1],
             "machine": model.image.machine.name, "macs_per_cycle": model.image.machine.macs_per_cycle,
             "patch": model.image.model.patch, "experts": why_not(model.image.model) is None}
            for name, model in models.items()]}

    @router.get("/api/state")
    def state() -> dict:
        job = service.worker.running
        progress = None if job is None or not job.cycles else min(1.0, job.cycles / sum(
            layer.cycles for layer in _layers(job.model, job.task)))
        return asdict(service.worker.state) | {"machine": models.machine.name, "progress": progress}

    @router.post("/api/run")
    async def run(request: Request) -> dict:
        return await _run(service, references, request)

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
    router.mount("/page", StaticFiles(directory=FILES))
    return router


async def _run(service: Service, references: ThreadPoolExecutor, request: Request) -> dict:
    form = await form_of(request)
    model, task, wants_experts = _asked(service, request, form)
    picture = await service.aside(_picture, form, model)
    del form  # what waits in the queue is a picture of the model's size
    ends = asyncio.get_running_loop().time() + service.limits.seconds
    unwanted = threading.Event()
    reference = references.submit(chosen_experts, model, task, picture, lambda: _check(unwanted)) \
        if wants_experts and why_not(model.image.model) is None else None
    try:
        done = await service.run(request, model, task, picture)
        chosen, reason = await _waited(reference, ends) if reference is not None else (None, None)
    finally:
        unwanted.set()

    def shown() -> dict:
        return {"model": model.name, "task": task, "input": input_view(picture), "maps": maps(done.result, model),
                "experts": experts_view(model, chosen, reason),
                "time": time_view(_layers(model, task), done.result, model, done.clock_hz, done.clock),
                "figures": figures(task, done)}
    return await service.aside(shown)


def _asked(service: Service, request: Request, form: Form) -> tuple[Model, str, bool]:
    """Model, task, and whether experts are wanted."""
    if unknown := form.texts.keys() - FIELDS:
        raise BadRequest(f"A form has the fields picture, {', '.join(sorted(FIELDS))}, not "
                         f"{sorted(unknown)[0][:80]!r}.")
    model = service.models.named(form.texts.get("model") or next(iter(service.models)))
    request.state.model = model.name
    task = request.state.task = model.task(form.texts.get("task") or None)
    if (experts := form.texts.get("experts", "true")) not in ("true", "false"):
        raise BadRequest(f"The field 'experts' is true or false, not {experts[:80]!r}.")
    return model, task, experts == "true"


def _picture(form: Form, model: Model) -> np.ndarray:
    return fitted(decode_picture(form.picture, MOST_PIXELS), model.image.model)


def _check(unwanted: threading.Event) -> None:
    """Ends the work of the reference model for a request that is answered or gone."""
    if unwanted.is_set():
        raise CancelledError


async def _waited(reference: "Future[Choices]", ends: float) -> tuple[Choices | None, str | None]:
    """The choices of the reference model, or why there are none when the request's time ``ends``."""
    try:
        async with asyncio.timeout_at(ends):
            return await asyncio.wrap_future(reference), None
    except TimeoutError:
        return None, "The reference model needs more time for this picture than a request has."
    except Exception as error:  # the result of the device is shown all the same
        return None, f"The reference model failed with {type(error).__name__}: {error}"


@lru_cache(64)
def _layers(model: Model, task: str) -> list[PredictedLayer]:
    return predicted_layers(model.image, task)


@lru_cache(len(SAMPLES))
def _sample(number: int) -> bytes:
    from host.scenes.render import scene

    file = io.BytesIO()
    Picture.fromarray(scene(SAMPLES[number], SERIES, *SIZE).image).save(file, format="PNG")
    return file.getvalue()
