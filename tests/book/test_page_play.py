"""The explorer of the page without a kernel, used in a real browser as a reader does: mouse, keys and touch."""

import base64
import io
import time

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from scipy.special import softmax

from nanoshape_lib.book import javascript
from nanoshape_lib.book.page import COARSE_WAVES, WEIGHTS
from nanoshape_lib.book.stored_waves import stored_waves, unpack
from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.particles.orientation import sector_corners
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.exit_waves import wave_pixels
from nanoshape_lib.simulation.imaging import form_images, standardise
from nanoshape_lib.simulation.optics import Camera, Microscope

AXE = javascript.MODULES / "axe-core" / "axe.min.js"
MISSING, DAMAGED = "The file {}.js is missing beside this page.", "The file {}.js beside this page is damaged."
PIXELS = "() => [...document.querySelector('.play-explorer .play-image').pixels]"
OUTPUTS = "selector => { const { outputs } = document.querySelector(selector); return outputs && [...outputs]; }"
DROP = """([text, name]) => {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name));
    const drop = new DragEvent("drop", { dataTransfer: transfer, bubbles: true });
    document.querySelector(".play-drop").dispatchEvent(drop);
}"""
DEFOCUS, DOSE, TURN = "defocus", "dose", "turn in the plane"

pytestmark = pytest.mark.slow


class Visit:
    """The page, opened from the disk; what it asks for and complains of."""

    def __init__(self, browser, folder, width=1000, before="", **options):
        self.requests, self.complaints = [], []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.context.set_default_timeout(15_000)
        self.page = page = self.context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.add_init_script(before)
        page.goto((folder / "page.html").as_uri())

    def shown(self):
        """Wait for the first picture."""
        self.page.wait_for_function("document.querySelector('.play-explorer .play-image')?.pixels")
        return self

    def slider(self, label):
        return self.page.get_by_label(label, exact=True)

    def answered(self, moves):
        """Wait until the classifier has answered so many times."""
        self.page.wait_for_function(f"document.querySelector('.play-explorer .play-image').dataset.shown >= {moves}")

    def image(self):
        return np.array(self.page.evaluate(PIXELS), np.float32).reshape(128, 128)

    def shows(self, expected, dose_e_A2):
        """Wait until the picture is the expected one but for counting noise."""
        self.until(lambda: same_but_noise(self.image(), expected, dose_e_A2))

    def until(self, holds, seconds=30):
        """Wait until something holds, looking again and again."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"not so after {seconds} s"
            self.page.wait_for_timeout(50)

    def outputs(self, where=".play-explorer .play-bars"):
        return self.page.evaluate(OUTPUTS, where)

    def status(self, where=".play-explorer"):
        return self.page.inner_text(f"{where} .play-status")

    def says(self, text, where="#nanoshape-play"):
        """Wait until the status contains a text."""
        script = "([where, text]) => document.querySelector(`${where} .play-status`)?.textContent.includes(text)"
        self.page.wait_for_function(script, arg=[where, text])

    def chosen(self):
        """Name of the direction that is marked in the triangle."""
        return self.page.locator(".play-triangle [aria-checked=true]").get_attribute("aria-label")


@pytest.fixture
def visit(browser, page_folder):
    opened = []

    def go(**options):
        opened.append(Visit(browser, page_folder, **options))
        return opened[-1]

    yield go
    for each in opened:
        each.context.close()


@pytest.fixture(scope="module")
def waves():
    return list(stored_waves(**COARSE_WAVES))


def expected_image(wave, defocus_A, turn_deg=0.0) -> torch.Tensor:
    """The library's image (1, 128, 128) without noise at the first settings but the defocus."""
    microscope = Microscope()
    unpacked = torch.as_tensor(unpack(wave.data, microscope, wave_pixels(microscope)))[None]
    camera = Camera(dose_e_A2=None)
    return form_images(unpacked, torch.tensor([defocus_A]), microscope, camera, turn_deg=torch.tensor([turn_deg]))


def of(waves, shape, direction):
    return [wave for wave in waves if wave.shape is shape][direction]


def same_but_noise(image: np.ndarray, expected: torch.Tensor, dose_e_A2: float) -> bool:
    """Whether an image differs from another by no more than the counting noise of its dose."""
    return float((image - expected[0].numpy()).std()) < 1.1 / np.sqrt(dose_e_A2)


# ------------------------------------------------------------------ knobs


def test_the_first_picture_asks_for_little(visit, waves):
    opened = visit().shown()
    assert same_but_noise(opened.image(), expected_image(of(waves, Shape.TRUNCATED_OCTAHEDRON, 0), 80.0), 1000)
    assert opened.outputs() is None
    opened.page.wait_for_function("document.querySelector('.play-about').textContent")
    assert "profile paper" in opened.page.inner_text(".play-about")
    opened.page.locator(".play-body").scroll_into_view_if_needed()
    still = opened.page.locator(".play-body")
    opened.until(lambda: levels(still.screenshot()).std() > 10)
    names = {url.rsplit("/", 1)[1] for url in opened.requests}
    assert not names & {"network.js", "network-runtime.js", "runtime-wasm.js", "particle-3d.js", "image-files.js"}
    assert opened.complaints == []


def test_keys_turn_knobs_and_the_classifier_answers_as_the_library(visit, waves):
    opened = visit().shown()
    opened.slider(DOSE).focus()
    opened.page.keyboard.press("End")
    opened.slider(DEFOCUS).focus()
    for _ in range(3):
        opened.page.keyboard.press("ArrowLeft")
    opened.page.wait_for_function("document.querySelector('.play-image').ariaLabel.includes('defocus 65 Å')")
    opened.shows(expected_image(of(waves, Shape.TRUNCATED_OCTAHEDRON, 0), 65.0), 1e5)
    image = opened.image()
    model, card = load_weights(WEIGHTS)
    with torch.inference_mode():
        logits = model(standardise(torch.as_tensor(image)[None])[:, None]).numpy()[0]
    expected = softmax(logits / card["temperature"])
    opened.until(lambda: opened.outputs() == pytest.approx(expected, abs=1e-3))
    assert "never seen this dose" in opened.status()
    opened.page.get_by_role("button", name="Back to the first settings").click()
    opened.page.wait_for_function("document.querySelector('.play-image').ariaLabel.includes('defocus 80 Å')")
    opened.page.wait_for_function("!document.querySelector('.play-status').textContent.includes('never')")
    assert opened.complaints == []


def test_dragging_and_touching_a_knob_change_picture_and_answer(visit, waves):
    opened = visit(has_touch=True).shown()
    box = opened.slider(DEFOCUS).bounding_box()
    middle = box["y"] + box["height"] / 2
    mouse = opened.page.mouse
    mouse.move(box["x"] + 0.63 * box["width"], middle)
    mouse.down()
    for share in np.linspace(0.63, 0.25, 12):
        mouse.move(box["x"] + share * box["width"], middle)
    mouse.up()
    opened.answered(1)
    defocus = float(opened.slider(DEFOCUS).input_value())
    assert -250 < defocus < -50
    wave = of(waves, Shape.TRUNCATED_OCTAHEDRON, 0)
    opened.shows(expected_image(wave, defocus), 1000)
    before = opened.image()
    box = opened.slider(TURN).bounding_box()
    opened.page.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    turn = float(opened.slider(TURN).input_value())
    assert turn > 60
    opened.shows(expected_image(wave, defocus, turn), 1000)
    assert not same_but_noise(before, expected_image(wave, defocus, turn), 1000)


def test_another_shape_is_shown_and_found(visit, waves):
    opened = visit().shown()
    for shape in (Shape.CUBE, Shape.ICOSAHEDRON):
        opened.page.get_by_label("shape", exact=True).select_option(label=shape.title)
        opened.page.wait_for_function(f"document.querySelector('.play-image').ariaLabel.includes('{shape.title}')")
        opened.page.wait_for_function(f"document.querySelector('.play-status').textContent.includes('{shape.title}')")
        opened.shows(expected_image(of(waves, shape, 0), 80.0), 1000)
        opened.until(lambda shape=shape: int(np.argmax(opened.outputs())) == shape)
    assert opened.page.locator(".play-triangle text").all_text_contents() == list(sector_corners(Shape.ICOSAHEDRON))


# ------------------------------------------------------------------ directions


def test_the_triangle_is_clicked_touched_and_walked_with_keys(visit, waves):
    opened = visit(has_touch=True).shown()
    corners = list(sector_corners(Shape.TRUNCATED_OCTAHEDRON))
    dots = opened.page.locator(".play-dot")
    names = [dots.nth(i).get_attribute("aria-label") for i in range(dots.count())]
    assert sorted(names) == sorted(f"along {corner}" for corner in corners)
    for corner in corners[:2]:
        place = dots.nth(names.index(f"along {corner}")).bounding_box()
        opened.page.mouse.click(place["x"] + 3, place["y"] + 3)
        assert opened.chosen() == f"along {corner}"
    wave = of(waves, Shape.TRUNCATED_OCTAHEDRON, names.index(f"along {corners[1]}"))
    opened.shows(expected_image(wave, 80.0), 1000)
    place = dots.nth(names.index(f"along {corners[2]}")).bounding_box()
    opened.page.touchscreen.tap(place["x"] - 4, place["y"] + 12)
    assert opened.chosen() == f"along {corners[2]}"
    opened.page.keyboard.press("ArrowDown")
    assert opened.chosen() == f"along {corners[1]}"
    opened.page.keyboard.press("ArrowLeft")
    assert opened.chosen() == f"along {corners[0]}"
    assert opened.page.evaluate("document.activeElement.getAttribute('aria-checked')") == "true"


def particle(opened):
    """The particle's picture in three dimensions when it is at rest."""
    body = opened.page.locator(".play-body")
    body.hover()
    opened.page.wait_for_selector(".play-body[data-live]")
    pictures = [body.screenshot()]

    def still():
        opened.page.wait_for_timeout(300)
        pictures.append(body.screenshot())
        return pictures[-1] == pictures[-2]

    opened.until(still)
    return pictures[-1]


def levels(picture):
    """Grey levels of a screenshot."""
    return np.asarray(Image.open(io.BytesIO(picture)).convert("L"))


def test_the_particle_is_turned_by_mouse_and_keys_and_the_image_follows(visit):
    opened = visit().shown()
    first, label = particle(opened), opened.chosen()
    assert levels(first).std() > 10, "no particle is seen"
    body = opened.page.locator(".play-body")
    box = body.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    opened.page.mouse.move(x, y)
    opened.page.mouse.down()
    opened.page.mouse.move(x + 15, y)
    assert "off this stored direction" in opened.page.inner_text(".play-place")
    # From [111], 54.7 degrees the right way lead to [001] or [011].
    opened.page.mouse.move(x + 60, y + 40, steps=5)
    opened.page.mouse.up()
    opened.answered(1)
    assert opened.chosen() != label
    opened.until(lambda: particle(opened) != first)
    second = particle(opened)
    body.focus()
    for _ in range(4):
        opened.page.keyboard.press("ArrowUp")
    opened.until(lambda: particle(opened) != second)
    assert opened.complaints == []


def test_the_particle_is_turned_by_touch(visit):
    opened = visit(has_touch=True).shown()
    first = particle(opened)
    box = opened.page.locator(".play-body").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = opened.context.new_cdp_session(opened.page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 6):
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x - 8 * step, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    opened.answered(1)
    opened.until(lambda: particle(opened) != first)


def test_the_particle_stands_as_the_image_shows_it(visit, waves):
    """A cube turned in the plane: its outline in three dimensions covers the dark part of the image."""
    opened = visit().shown()
    opened.page.get_by_label("shape", exact=True).select_option(label=Shape.CUBE.title)
    opened.slider(TURN).focus()
    for _ in range(25):
        opened.page.keyboard.press("ArrowRight")
    turn = float(opened.slider(TURN).input_value())
    assert turn >= 25
    opened.shows(expected_image(of(waves, Shape.CUBE, 0), 80.0, turn), 1000)
    seen = np.asarray(Image.open(io.BytesIO(particle(opened))).convert("RGB")).astype(float)
    inside = np.abs(seen - seen[0, 0]).max(axis=2) > 30
    image = opened.image().T[::-1]
    smooth = np.array(Image.fromarray(image).resize((32, 32), Image.Resampling.BOX))
    dark = smooth < (smooth.min() + np.median(smooth)) / 2

    def angle(mask):
        """Direction [degrees] of a square's corners: phase of the fourth moment about its middle."""
        rows, columns = np.nonzero(mask)
        z = (columns - columns.mean()) - 1j * (rows - rows.mean())
        return np.degrees(np.angle((z**4).sum())) / 4

    difference = (angle(inside) - angle(dark) + 45) % 90 - 45
    assert abs(difference) < 6, difference


def test_motion_is_reduced_on_wish(visit):
    frames = """() => new Promise(resolve => {
        let count = 0;
        const ask = globalThis.requestAnimationFrame;
        globalThis.requestAnimationFrame = call => { count++; return ask(call); };
        document.querySelector('.play-dot[aria-checked=false]').dispatchEvent(new MouseEvent('click', { bubbles: true,
            clientX: document.querySelector('.play-dot[aria-checked=false]').getBoundingClientRect().x + 3,
            clientY: document.querySelector('.play-dot[aria-checked=false]').getBoundingClientRect().y + 3 }));
        setTimeout(() => resolve(count), 600);
    })"""
    counts = {}
    for wish in ("reduce", "no-preference"):
        opened = visit(reduced_motion=wish).shown()
        before = particle(opened)
        counts[wish] = opened.page.evaluate(frames)
        opened.until(lambda opened=opened, before=before: particle(opened) != before)
    assert counts["reduce"] == 0 < counts["no-preference"]


def test_without_webgl_a_sentence_says_so_and_the_triangle_works(visit):
    block = """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind.startsWith("webgl") ? null : get.call(this, kind, ...rest);
        };"""
    opened = visit(before=block).shown()
    opened.page.locator(".play-body").hover()
    opened.page.wait_for_selector(".play-directions .play-sentence")
    assert "WebGL" in opened.page.inner_text(".play-directions .play-sentence")
    opened.page.locator(".play-dot[aria-checked=false]").first.click()
    opened.answered(1)
    assert opened.complaints == []


# ------------------------------------------------------------------ damage


@pytest.fixture
def spoil(page_folder):
    """Remove or overwrite a file of the page until the end of the test."""
    kept = {}

    def change(name, content=None):
        path = page_folder / f"{name}.js"
        kept.setdefault(path, path.read_bytes())
        path.unlink(missing_ok=True) if content is None else path.write_text(content, encoding="ascii")

    change.mend = lambda: [path.write_bytes(content) for path, content in kept.items()]
    yield change
    change.mend()


@pytest.mark.parametrize("name", ["waves", "fft-wasm"])
@pytest.mark.parametrize(("content", "sentence"), [(None, MISSING), ('nanoshapeAsset("{}","H4sIAAAA");', DAMAGED)])
def test_without_its_data_the_page_says_so_and_keeps_the_figure(visit, spoil, name, content, sentence):
    spoil(name, content and content.format(name))
    opened = visit()
    opened.says("beside")
    assert opened.status("#nanoshape-play").startswith(sentence.format(name))
    assert opened.page.locator("canvas").count() == 0
    assert opened.page.locator("img").evaluate("image => image.naturalWidth") > 500


def test_a_missing_wave_is_named_in_place_of_the_picture_and_others_are_shown(visit, spoil, waves):
    missing = of(waves, Shape.OCTAHEDRON, 0).name
    spoil(missing)
    opened = visit().shown()
    shape = opened.page.get_by_label("shape", exact=True)
    shape.select_option(label=Shape.OCTAHEDRON.title)
    opened.page.wait_for_selector(".play-picture .play-sentence")
    assert opened.page.inner_text(".play-picture .play-sentence") == MISSING.format(missing)
    assert not opened.page.locator(".play-explorer .play-image").is_visible() and opened.outputs() is None
    opened.slider(DEFOCUS).focus()
    opened.page.keyboard.press("ArrowRight")
    shape.select_option(label=Shape.CUBE.title)
    opened.answered(1)
    assert opened.page.locator(".play-explorer .play-image").is_visible()
    assert not opened.page.locator(".play-picture .play-sentence").is_visible()
    spoil.mend()
    shape.select_option(label=Shape.OCTAHEDRON.title)
    opened.answered(2)


@pytest.mark.parametrize("name", ["network", "runtime-wasm", "network-runtime"])
def test_without_the_classifier_the_picture_still_follows_the_knobs(visit, spoil, waves, name):
    spoil(name)
    opened = visit().shown()
    opened.slider(DEFOCUS).focus()
    opened.page.keyboard.press("ArrowRight")
    opened.says("missing")
    assert opened.status() == MISSING.format(name)
    opened.shows(expected_image(of(waves, Shape.TRUNCATED_OCTAHEDRON, 0), 85.0), 1000)


def test_without_the_view_a_sentence_stands_below_the_still_particle(visit, spoil):
    spoil("particle-3d", "(() => {")
    opened = visit().shown()
    opened.page.locator(".play-body").hover()
    opened.page.wait_for_selector(".play-directions .play-sentence")
    assert opened.page.inner_text(".play-directions .play-sentence") == DAMAGED.format("particle-3d")


def test_without_the_reader_of_files_one_sentence_says_so(visit, spoil, tmp_path):
    spoil("image-files")
    (tmp_path / "mine.png").write_bytes(b"")
    opened = visit().shown()
    opened.page.set_input_files(".play-drop input", tmp_path / "mine.png")
    opened.says("missing", ".play-own")
    assert opened.status(".play-own") == MISSING.format("image-files")


# ------------------------------------------------------------------ an image of one's own


@pytest.fixture(scope="module")
def counts():
    """An image as a camera writes it, rows from the top, and the library's probabilities of it."""
    example = load_examples("best_cnn6_examples").images[-1].float().numpy()
    counts = np.rint((example - example.min()) / np.ptp(example) * 60_000).astype(np.uint16)
    model, card = load_weights(WEIGHTS)
    with torch.inference_mode():
        logits = model(standardise(torch.as_tensor(counts.astype(np.float32))[None])[:, None]).numpy()[0]
    return counts, softmax(logits / card["temperature"])


def test_an_image_without_pixel_size_is_asked_for_it(visit, counts, tmp_path):
    Image.fromarray(counts[0]).save(tmp_path / "mine.png")
    opened = visit().shown()
    opened.page.set_input_files(".play-drop input", tmp_path / "mine.png")
    opened.says("pixel size", ".play-own")
    assert not opened.page.locator(".play-own-views").is_visible()
    opened.page.keyboard.type("1.0")
    opened.page.wait_for_selector(".play-own-views:visible")
    assert opened.outputs(".play-own .play-bars") == pytest.approx(counts[1], abs=1e-3)
    assert "I don’t know" in opened.page.inner_text(".play-warning")
    opened.slider("pixel size").fill("7")
    opened.says("must lie", ".play-own")
    assert not opened.page.locator(".play-own-views").is_visible()
    assert opened.complaints == []


def test_a_dropped_stack_of_a_large_image_is_placed_by_hand(visit, counts, tmp_path):
    large = np.full((2, 300, 200), int(counts[0].mean()), np.uint16)
    large[0, 160:288, 40:168] = counts[0]
    options = {"resolution": (10.0, 10.0), "metadata": {"unit": "nm", "axes": "ZYX"}}
    tifffile.imwrite(tmp_path / "mine.tif", large, imagej=True, **options)
    opened = visit().shown()
    content = base64.b64encode((tmp_path / "mine.tif").read_bytes()).decode()
    opened.page.evaluate(DROP, [content, "mine.tif"])
    opened.page.wait_for_selector(".play-own-views:visible")
    assert opened.status(".play-own").endswith("mine.tif is a stack: this is its first image only.")
    before = opened.outputs(".play-own .play-bars")
    overview = opened.page.locator(".play-overview")
    box = overview.bounding_box()
    # 300 rows fill the square; row 223.5 and column 103.5 are the particle's middle.
    place = {"x": box["width"] * (50 + 103.5) / 300, "y": box["height"] * 223.5 / 300}
    overview.click(position=place)
    answer = ".play-own .play-bars"
    opened.until(lambda: opened.outputs(answer) != before)
    # A click is as exact as a pixel of the screen.
    opened.until(lambda: opened.outputs(answer) == pytest.approx(counts[1], abs=0.2))
    there = opened.outputs(answer)
    opened.slider("left to right").focus()
    opened.page.keyboard.press("Home")
    opened.until(lambda: opened.outputs(answer) != there)
    assert opened.complaints == []


def test_a_bad_file_gives_one_sentence_and_the_next_is_read(visit, counts, tmp_path):
    (tmp_path / "bad.tif").write_bytes(b"II*\0 no more")
    Image.fromarray(counts[0]).save(tmp_path / "good.png")
    opened = visit().shown()
    opened.page.set_input_files(".play-drop input", tmp_path / "bad.tif")
    opened.says("bad.tif is", ".play-own")
    assert opened.status(".play-own").count(".") == 2  # the file's name has one
    opened.page.set_input_files(".play-drop input", tmp_path / "good.png")
    opened.says("good.png", ".play-own")
    assert opened.complaints == []


# ------------------------------------------------------------------ looks and weight


@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_and_the_page_fits(visit, counts, tmp_path, width):
    Image.fromarray(counts[0]).save(tmp_path / "mine.png")
    opened = visit(width=width).shown()
    opened.page.add_style_tag(content="html[data-theme=dark] body { background: #14181e; color: #ced6dd; }")
    opened.page.get_by_role("button", name="Ask the classifier").click()
    opened.answered(1)
    opened.page.set_input_files(".play-drop input", tmp_path / "mine.png")
    opened.slider("pixel size").fill("1")
    opened.page.wait_for_selector(".play-own-views:visible")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.add_script_tag(path=AXE)
    for theme in ("light", "dark"):
        opened.page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        found = opened.page.evaluate("axe.run().then(({ violations }) => violations)")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == [], theme


def test_all_waves_and_programs_together_are_light(page_folder):
    """Every file of the page with all its waves: 10 directions and 2 sizes of 5 shapes."""
    sizes = {path.stem: path.stat().st_size for path in page_folder.glob("*.js")}
    sizes = {name: size for name, size in sizes.items() if "twin" not in name and name != "modules"}
    waves = [size for name, size in sizes.items() if name.startswith("wave-")]
    assert sum(sizes.values()) - sum(waves) + 100 * max(waves) < 22e6
    first = ["play", "waves", "fft-wasm", "network-card", "particles"]  # before anything is touched
    assert sum(sizes[name] for name in first) + max(waves) < 0.5e6
