"""The page: what it shows, and which event does what. Gradio keeps the queue and carries the events."""

import os
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
from stylegallery.studio.visits import Guest, Visits
from stylegallery.studio.wishes import Wishes

FRONT = Path(__file__).parent / "front"
MOST_WAITING = 48  # events of all visitors
QUICK = {"concurrency_id": "quick", "concurrency_limit": 4, "show_progress": "hidden", "trigger_mode": "multiple"}
# One picture at a time is painted.
SLOW = {"concurrency_id": "slow", "concurrency_limit": 1, "show_progress": "minimal"}
WELCOME = "Choose a photo and some paintings. Nothing is painted before you ask for it."
FOUND = "Every region of the photo has found its painting. Change what you like, then paint."
SYSTEM_FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]


def script(*names: str) -> str:
    return "".join((FRONT / f"{name}.js").read_text(encoding="utf-8") for name in names)


def explained(guest: Guest, error: Exception) -> str:
    """A sentence for the visitor, without places of this machine."""
    return str(error).replace(f"{guest.visit.folder}/", "")


def build(visits: Visits) -> gr.Blocks:
    """The page of a studio."""

    def admitted(request: gr.Request) -> Guest:
        try:
            return visits.of(request.session_hash)
        except InputError as error:  # the house is full
            raise gr.Error(str(error), title="Not now", print_exception=False) from error

    def stop(request: gr.Request) -> None:
        admitted(request).easel.stop()

    def answering(do: Callable[[Guest, Any], Any], show: Callable[..., Any]) -> Callable[..., Any]:
        """What a handler of the wall answers: the wall, with an error said on it."""

        def handler(event: gr.EventData, request: gr.Request) -> Any:
            guest = admitted(request)
            try:
                return show(guest, do(guest, event._data))
            except InputError as error:
                return show(guest, None, explained(guest, error))

        return handler

    def walled(guest: Guest, said: object, error: str = "") -> Any:
        return view.wall(guest, error or (said if isinstance(said, str) else ""), "error" if error else "info")

    def brought(guest: Guest, said: object, error: str = "") -> Any:
        return {} if error else view.pictures_of(guest), walled(guest, said, error)

    def fetched(guest: Guest, file: Any, error: str = "") -> Any:
        return gr.skip() if error else file

    def hello(request: gr.Request) -> Any:
        guest = visits.here(request.session_hash)
        return view.bundled()[0] | view.pictures_of(guest), view.wall(guest, WELCOME), view.easel(guest)

    def look(request: gr.Request) -> Iterator[Any]:
        """Analyse what is new, and show it."""
        guest = admitted(request)
        error = ""
        try:
            for number in guest.visit.analyse():
                of = "the photo" if number == 0 else f"painting {number}"
                yield view.wall(guest, f"looking at {of} …")
        except InputError as problem:
            error = explained(guest, problem)
        visit = guest.visit
        if error:
            yield view.wall(guest, error, "error")
        elif visit.ready:
            yield view.wall(guest, FOUND)
        elif visit.pictures[0] or len(visit.pictures) > 1:
            yield view.wall(guest, "Now choose some paintings." if visit.pictures[0] else "Now choose a photo.")

    def painting(guest: Guest, moments: Iterator[Moment]) -> Iterator[Any]:
        try:
            for moment in moments:
                pictures = view.result_pictures(moment.result) if moment.result else gr.skip()
                yield pictures, view.easel(guest, moment)
        except (InputError, FloatingPointError) as error:
            yield gr.skip(), view.easel(guest, text=explained(guest, error), kind="error")
        else:
            if guest.easel.stopping and not guest.easel.going:
                yield gr.skip(), view.easel(guest, text="stopped before the first stroke")

    def paint(event: gr.EventData, request: gr.Request) -> Iterator[Any]:
        guest = admitted(request)
        try:
            wishes = Wishes.of(event._data)
        except InputError as error:
            yield gr.skip(), view.easel(guest, text=explained(guest, error), kind="error")
            return
        yield from painting(guest, guest.easel.paint(wishes))

    def go_on(request: gr.Request) -> Iterator[Any]:
        guest = admitted(request)
        yield from painting(guest, guest.easel.carry_on())

    def opened(event: gr.EventData, request: gr.Request) -> Any:
        guest = admitted(request)
        try:
            wishes, text = deeds.opened(guest, event._data)
        except InputError as error:
            return gr.skip(), gr.skip(), view.easel(guest, text=explained(guest, error), kind="error")
        return view.pictures_of(guest), view.wall(guest), view.easel(guest, text=text, restored=wishes)

    def leave(request: gr.Request) -> None:
        visits.leave(request.session_hash)

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
        slow: dict[str, Any] = SLOW | {"show_progress_on": place}
        easel_js = f"easel(element, {triggers('paint', 'stop', 'on', 'restore', 'fetch')}, props, watch);"
        easel = gr.HTML(js_on_load=script("common", "easel") + easel_js, **part)
        private: dict[str, Any] = {"inputs": None, "api_visibility": "private"}
        page.load(hello, outputs=[shelf, wall, easel], **QUICK, **private)
        page.unload(leave)
        wall.act(answering(deeds.act, walled), outputs=wall, **QUICK, **private)
        wall.bring(answering(deeds.bring, brought), outputs=[shelf, wall], **QUICK, **private).then(
            look, outputs=wall, trigger_mode="multiple", **slow, **private
        )
        wall.fetch(answering(deeds.fetch, fetched), outputs=purse, **QUICK, **private)
        easel.fetch(answering(deeds.fetch, fetched), outputs=purse, **QUICK, **private)
        easel.paint(paint, outputs=[shelf, easel], **slow, **private)
        easel.on(go_on, outputs=[shelf, easel], **slow, **private)
        easel.stop(stop, **QUICK, **private)
        easel.restore(opened, outputs=[shelf, wall, easel], **slow, **private)
    return page


def serve(visits: Visits, host: str, port: int, wait: bool = True) -> gr.Blocks:
    """Serve the page until the process is interrupted, or without waiting.

    Raises:
        InputError: the port is taken.
    """
    os.environ["GRADIO_TEMP_DIR"] = visits.root.name
    page = build(visits).queue(max_size=MOST_WAITING, api_open=False)
    try:
        page.launch(
            server_name=host, server_port=port, share=False, inbrowser=False, quiet=True, prevent_thread_lock=True,
            show_error=False, ssr_mode=False, pwa=False, mcp_server=False, run_history=False, enable_monitoring=False,
            max_file_size=1, allowed_paths=[], footer_links=[], state_session_capacity=500,
            app_kwargs={"middleware": [Middleware(Door)], "docs_url": None, "redoc_url": None, "openapi_url": None},
            css=(FRONT / "studio.css").read_text(encoding="utf-8"),
            theme=gr.themes.Base(font=SYSTEM_FONTS, font_mono=["ui-monospace", "monospace"]),
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"port {port} of {host} cannot be used ({error}); pass another --port") from error
    if wait:
        print(f"the studio is open: http://{host}:{port}", flush=True)
        page.block_thread()
    return page
