# SPDX-License-Identifier: Apache-2.0
"""Routes of the Open Inference Protocol (KServe v2), with the binary tensor and model repository extensions."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from host.driver.errors import AccelError
from host.images import PictureError
from host.service.bodies import body_of
from host.service.models import VERSION, Model, output_of
from host.service.service import Service
from host.service.tensors import LENGTH, MOST_PIXELS, answer, checked, parsed, picture_of, wanted_outputs
from host.service.worker import Done

FAILURES = (AccelError, PictureError)
"""Exceptions of a request that are answered by name."""
BINARY, JSON = "application/octet-stream", "application/json"


def routes(service: Service) -> APIRouter:
    """The routes under ``/v2``."""
    router, models = APIRouter(prefix="/v2"), service.models

    @router.get("")
    def server() -> dict:
        return {"name": "edge-moe", "version": _version(), "extensions": ["binary_tensor_data", "model_repository"]}

    @router.get("/health/live")
    def live() -> dict:
        return {"live": True}

    @router.get("/health/ready")
    def ready() -> JSONResponse:
        up = _up(service)
        return JSONResponse({"live": up, "ready": up}, 200 if up else 503)

    @router.post("/repository/index")
    def index() -> list[dict]:
        state = "READY" if _up(service) else "UNAVAILABLE"
        return [{"name": name, "version": VERSION, "state": state, "reason": ""} for name in models]

    @router.get("/models/{name}")
    @router.get("/models/{name}/versions/{number}")
    def metadata(name: str, number: str | None = None) -> dict:
        return described(models.named(name, number))

    @router.get("/models/{name}/ready")
    @router.get("/models/{name}/versions/{number}/ready")
    def model_ready(name: str, number: str | None = None) -> JSONResponse:
        up = _up(service)
        return JSONResponse({"name": models.named(name, number).name, "ready": up}, 200 if up else 503)

    @router.post("/models/{name}/infer")
    @router.post("/models/{name}/versions/{number}/infer")
    async def infer(request: Request, name: str, number: str | None = None) -> Response:
        return await _infer(service, request, models.named(name, number))
    return router


async def _infer(service: Service, request: Request, model: Model) -> Response:
    request.state.model = model.name
    length = request.headers.get(LENGTH)
    body = await body_of(request, *([BINARY, JSON] if length else [JSON]), missing=True)
    asked, rest = await service.aside(parsed, body, length)
    parameters = checked(asked)
    task = request.state.task = model.task(parameters.get("task"))
    outputs = wanted_outputs(asked, model, task)
    picture = await service.aside(picture_of, asked, rest, model)
    asked.inputs.clear()
    del body, rest  # what waits in the queue is a picture of the model's size
    done = await service.run(request, model, task, picture, service.seconds(parameters.get("timeout")))
    head = {"model_name": model.name, "model_version": VERSION, "parameters": figures(task, done)}
    if asked.id:
        head["id"] = asked.id

    def written() -> tuple[bytes, int | None]:
        return answer(head, {name: output_of(done.result, name) for name in outputs}, outputs)
    content, size = await service.aside(written)
    headers = {} if size is None else {LENGTH: str(size)}
    return Response(content, media_type=JSON if size is None else BINARY, headers=headers)


def described(model: Model) -> dict:
    """Metadata of a model; ``parameters`` say what the protocol has no words for."""
    config = model.image.model
    return {
        "name": model.name, "versions": [VERSION], "platform": "edge-moe",
        "inputs": [model.input.to_json()], "outputs": [each.to_json() for each in model.all_outputs.values()],
        "parameters": {
            "tasks": {task: list(model.outputs(task)) for task in model.tasks}, "default_task": model.tasks[0],
            "machine": model.image.machine.name,
            "fit": f"With the request's parameter fit = true the input may be [-1, -1, 3], up to {MOST_PIXELS} pixels: "
                   f"it is cropped and resized to the model's {config.image_height} x {config.image_width}."}}


def figures(task: str, done: Done) -> dict[str, str | int | float]:
    """What a result took."""
    found: dict[str, str | int | float] = {"task": task, "queue_milliseconds": round(1e3 * done.queued, 3),
                                           "device_milliseconds": round(1e3 * done.taken, 3)}
    if done.result.cycles:
        found |= {"cycles": done.result.cycles, "clock": done.clock,
                  "machine_milliseconds": round(1e3 * done.result.cycles / done.clock_hz, 4)}
    return found


def _up(service: Service) -> bool:
    return service.worker.state.status in ("ready", "busy")


def _version() -> str:
    try:
        return version("edge-moe")
    except PackageNotFoundError:
        return "unknown"
