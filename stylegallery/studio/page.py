"""The page: what it shows, and which event does what. Gradio keeps the queue and carries the events."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported: nothing is sent anywhere

import gradio as gr
from starlette.middleware import Middleware

from stylegallery.errors import InputError
from stylegallery.studio import deeds, view
from stylegallery.studio.door import Door
from stylegallery.studio.easel import Moment
from stylegallery.studio.turns import LANES, Turns
from stylegallery.studio.visits import Guest, Visits
from stylegallery.studio.wishes import Wishes

FRONT = Path(__file__).parent / "front"
TURN = 600.0  # seconds after which a painting is stopped where another visitor waits for the easel
WELCOME = "Choose a photo and some paintings. Nothing is painted before you ask for it."
FOUND = "Every region of the photo has found its painting. Change what you like, then paint."
ENDED = {"finished": "Result {} is finished.", "stopped": "Stopped and kept as result {}: Go on continues from there."}
SYSTEM_FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]


def script(*names: str) -> str:
    return "".join((FRONT / f"{name}.js").read_text(encoding="utf-8") for name in names)


def in_lane(name: str, **others: Any) -> dict[str, Any]:
    """Of an event: which others it waits for. It has no inputs, and the page alone knows it."""
    return {"concurrency_id": name, "concurrency_limit": LANES[name].at_a_time, "inputs": None,
            "api_visibility": "private", **others}  # fmt: skip


def build(visits: Visits) -> gr.Blocks:
    """The page of a studio."""

    def admitted(request: gr.Request) -> Guest:
        try:
            return visits.of(request.session_hash)
        except InputError as error:  # the house is full
            raise gr.Error(str(error), title="Not now", print_exception=False) from error

    async def stop(request: gr.Request) -> Any:
        """End the painting that is made, and withdraw one that waits."""
        guest = await asyncio.to_thread(admitted, request)
        guest.easel.stop()
        if turns.withdraw("paint", request.session_hash):
            return view.easel(guest, "Withdrawn: nothing is painted.")
        return gr.skip() if guest.moment else view.easel(guest)  # which also says that nothing is asked for

    def answering(do: Callable[[Guest, Any], Any], show: Callable[..., Any]) -> Callable[..., Any]:
        """What a handler of the wall answers: the wall, with an error said on it."""

        def handler(event: gr.EventData, request: gr.Request) -> Any:
            guest = admitted(request)
            try:
                return show(guest, do(guest, event._data))
            except InputError as error:
                return show(guest, None, guest.explain(error))

        return handler

    def walled(guest: Guest, said: object, error: str = "") -> Any:
        return view.wall(guest, error or (said if isinstance(said, str) else ""), "error" if error else "info")

    def brought(guest: Guest, said: object, error: str = "") -> Any:
        guest.refused = error  # said again when the others were looked at
        return view.pictures_of(guest), walled(guest, said, error)

    def fetched(guest: Guest, file: Any, error: str = "") -> Any:
        if error:
            raise gr.Error(error, title="Not now", print_exception=False)
        return file

    def hello(request: gr.Request) -> Any:
        guest = visits.here(request.session_hash)
        return view.bundled()[0] | view.pictures_of(guest), view.wall(guest, WELCOME), view.easel(guest)

    def look(request: gr.Request) -> Iterator[Any]:
        """Analyse what is new, and show it."""
        guest = admitted(request)
        visit = guest.visit
        try:
            for number in visit.analyse():
                of = "the photo" if number == 0 else f"painting {number}"
                yield view.wall(guest, f"Looking at {of} …")
        except InputError as problem:
            guest.refused = guest.explain(problem)
        error, guest.refused = guest.refused, ""
        if error:
            yield view.wall(guest, error, "error")
        elif visit.ready:
            yield view.wall(guest, FOUND)
        elif visit.pictures[0] or len(visit.pictures) > 1:
            yield view.wall(guest, "Now choose some paintings." if visit.pictures[0] else "Now choose a photo.")

    def painting(guest: Guest, session: str | None, moments: Iterator[Moment]) -> Iterator[Any]:
        began, text, kind = time.monotonic(), "", "info"
        try:
            for moment in moments:
                guest.seen = time.monotonic()
                # Where pictures were only looked at, there is nothing yet to go on with.
                long = guest.easel.going and guest.seen - began >= TURN
                if long and not text and turns.wanted("paint", session):
                    text = "Stopped, as another visitor is waiting: Go on takes the next turn."
                    guest.easel.stop()
                guest.moment = None if moment.result else moment
                pictures = view.result_pictures(moment.result) if moment.result else gr.skip()
                if moment.result:
                    text = text or ENDED[moment.doing].format(moment.result.number)
                yield pictures, view.easel(guest, text)
            if text or not guest.easel.stopping:
                return
            text = "Stopped before anything was painted."
        except (InputError, FloatingPointError) as error:
            text, kind = guest.explain(error), "error"
        finally:  # also where the page is closed meanwhile
            guest.moment = None
        yield gr.skip(), view.easel(guest, text, kind)

    def paint(event: gr.EventData, request: gr.Request) -> Iterator[Any]:
        guest = admitted(request)
        try:
            wishes = Wishes.of(event._data)
        except InputError as error:
            yield gr.skip(), view.easel(guest, guest.explain(error), "error")
            return
        yield from painting(guest, request.session_hash, guest.easel.paint(wishes))

    def go_on(request: gr.Request) -> Iterator[Any]:
        guest = admitted(request)
        yield from painting(guest, request.session_hash, guest.easel.carry_on())

    def opened(event: gr.EventData, request: gr.Request) -> Iterator[Any]:
        guest = admitted(request)
        yield gr.skip(), gr.skip(), view.easel(guest, "Looking at the pictures of this result …")
        try:
            wishes, text = deeds.opened(guest, event._data)
        except InputError as error:
            yield gr.skip(), gr.skip(), view.easel(guest, guest.explain(error), "error")
        else:
            yield view.pictures_of(guest), view.wall(guest), view.easel(guest, text, restored=wishes)

    def triggers(*names: str) -> str:
        """The page's function that sends an event; Gradio wants to read their names in it."""
        return "(name, what) => ({" + ", ".join(f"{n}: () => trigger('{n}', what)" for n in names) + "})[name]()"

    with gr.Blocks(title="StyleGallery studio", analytics_enabled=False, delete_cache=None) as page:
        part = {"html_template": "<div></div>", "apply_default_css": False, "padding": False}
        shelf = gr.HTML(visible="hidden", js_on_load=script("common") + "shelf(props, watch);", **part)
        purse = gr.HTML(visible="hidden", js_on_load=script("common") + "purse(props, watch);", **part)
        gr.HTML("<h1>The studio</h1><p>Point at a region, say whose style it takes, watch it being painted.</p>",
                elem_id="title", js_on_load=None, apply_default_css=False)  # fmt: skip
        wall_js = f"wall(element, {triggers('act', 'bring', 'fetch')}, props, watch);"
        wall = gr.HTML(js_on_load=script("common", "regions", "wall") + wall_js, **part)
        place = gr.HTML("", elem_id="place", js_on_load=None, apply_default_css=False)  # one's place in the queue
        easel_js = f"easel(element, {triggers('paint', 'stop', 'on', 'restore', 'fetch')}, props, watch);"
        easel = gr.HTML(js_on_load=script("common", "easel") + easel_js, **part)
        quick = in_lane("quick", show_progress="hidden", trigger_mode="multiple")
        fetch = in_lane("fetch", show_progress="minimal", show_progress_on=place, trigger_mode="multiple")
        # However many pictures come while one is looked at, the next look is at all of them.
        look_on = in_lane("look", show_progress="minimal", show_progress_on=place, trigger_mode="always_last")
        slow = in_lane("paint", show_progress="minimal", show_progress_on=place)
        page.load(hello, outputs=[shelf, wall, easel], **quick)
        page.unload(lambda: None)  # for this the page keeps a connection, whose end the door sees
        wall.act(answering(deeds.act, walled), outputs=wall, **quick)
        wall.bring(answering(deeds.bring, brought), outputs=[shelf, wall], **quick).then(look, outputs=wall, **look_on)
        wall.fetch(answering(deeds.fetch, fetched), outputs=purse, **fetch)
        easel.fetch(answering(deeds.fetch, fetched), outputs=purse, **fetch)
        easel.paint(paint, outputs=[shelf, easel], **slow)
        easel.on(go_on, outputs=[shelf, easel], **slow)
        easel.stop(stop, outputs=easel, **quick)
        easel.restore(opened, outputs=[shelf, wall, easel], **look_on | {"trigger_mode": "multiple"})
    turns = Turns(page, visits)
    return page


def serve(visits: Visits, host: str, port: int, wait: bool = True) -> gr.Blocks:
    """Serve the page until the process is interrupted, or without waiting.

    Raises:
        InputError: the port is taken.
    """
    os.environ["GRADIO_TEMP_DIR"] = visits.root.name
    page = build(visits)
    try:
        page.launch(
            server_name=host, server_port=port, share=False, inbrowser=False, quiet=True, prevent_thread_lock=True,
            show_error=False, ssr_mode=False, pwa=False, mcp_server=False, run_history=False, enable_monitoring=False,
            max_file_size=1, allowed_paths=[], footer_links=[], state_session_capacity=500,
            app_kwargs={"middleware": [Middleware(Door, visits=visits)],
                        "docs_url": None, "redoc_url": None, "openapi_url": None},
            css=(FRONT / "studio.css").read_text(encoding="utf-8"),
            theme=gr.themes.Base(font=SYSTEM_FONTS, font_mono=["ui-monospace", "monospace"]),
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"port {port} of {host} cannot be used ({error}); pass another --port") from error
    if wait:
        print(f"the studio is open: http://{host}:{port}", flush=True)
        page.block_thread()
    return page
