"""The map of a finished product: its tiles, and what the pixel under a click is made of."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from datacube_config.accounts import Account
from flows.request_page.shown import cube_url, index_of, reading_cube, visible
from flows.request_page.sign_in import Caller, settings_of
from flows.request_parsing import recipe_in
from flows.steps.cubes.passport import passport_of
from flows.steps.loading.raster_access import raster_access
from flows.steps.pictures.tiles import Layers, layers_of, tile_picture
from flows.steps.storage import open_storage, s3_options
from products.scene_recipe import SceneRecipe

router = APIRouter(prefix="/api/requests/{number}")


@router.get("/tiles.json")
def tile_set(number: UUID, request: Request, account: Caller) -> dict[str, Any]:
    """Where the tiles are and what they cover (TileJSON 3.0)."""
    layers = _layers(request, account, number)
    tiles = str(request.base_url) + f"api/requests/{number}/tiles/{{z}}/{{x}}/{{y}}.png"
    with reading_cube(layers.url):
        west, south, east, north = layers.bounds
    return {"tilejson": "3.0.0", "tiles": [tiles], "bounds": [west, south, east, north], "minzoom": 0, "maxzoom": 22}


@router.get("/tiles/{zoom}/{column}/{row}.png")
def tile(number: UUID, zoom: int, column: int, row: int, request: Request, account: Caller) -> Response:
    """A tile."""
    layers = _layers(request, account, number)
    with reading_cube(layers.url):
        picture = tile_picture(layers, zoom, column, row)
    return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.get("/passport")
def passport(
    number: UUID, request: Request, account: Caller,
    longitude: Annotated[float, Query(ge=-180, le=180)], latitude: Annotated[float, Query(ge=-90, le=90)],
) -> dict[str, Any]:  # fmt: skip
    """What a pixel of the last cell is made of."""
    index, settings = index_of(request), settings_of(request)
    row, layers = visible(index, account, number), _layers(request, account, number)
    with reading_cube(layers.url):
        period = layers.period_at(longitude, latitude)
    recipe = recipe_in(row.recipe)
    known = recipe if isinstance(recipe, SceneRecipe) else None
    return passport_of(
        index, open_storage(settings, prompt=True), row.product, lambda name: known if name == row.product else None,
        (longitude, latitude), period, settings.decode_thread_count, raster_access(settings),
    )  # fmt: skip


def _layers(request: Request, account: Account, number: UUID) -> Layers:
    return layers_of(
        Layers(cube_url(index_of(request), account, number), s3_options(settings_of(request), prompt=True))
    )
