"""The network as the page computes it: the library's probabilities, in ONNX Runtime, in node and in a browser.

And the reader's own image, from a file to probabilities.
"""

import base64
import gzip
import json
import subprocess

import numpy as np
import onnxruntime
import pytest
import tifffile
import torch
from PIL import Image
from scipy.special import softmax
from torch import nn

from nanoshape_lib.book import javascript
from nanoshape_lib.book.onnx_network import export_network
from nanoshape_lib.book.page import RUNTIME, WEIGHTS, write_network
from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.models import PlainCNN, build_model, load_weights, save_weights
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.imaging import standardise

TOLERANCE = 1e-3

CLASSIFY = """async text => {
    const pixels = new Float32Array(Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer);
    const { classify, card } = await page.loadClassifier();
    const rows = Array.from({ length: pixels.length / 16384 }, (_, i) => pixels.slice(i * 16384, (i + 1) * 16384));
    return { answers: (await Promise.all(rows.map(classify))).map(row => [...row]), card };
}"""
DROP = """async ([text, name, size]) => {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name));
    const dropped = new Promise(resolve => addEventListener("drop", event => resolve(event.dataTransfer.files[0])));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
    const read = await page.readImage(await dropped);
    const { classify } = await page.loadClassifier();
    return [...(await classify(page.resampleField(read, read.pixelSize_A ?? size).image))];
}"""
REASON = "page.loadClassifier().then(() => 'loaded', error => error.message)"


@pytest.fixture(scope="module")
def shipped():
    return load_weights(WEIGHTS)


@pytest.fixture(scope="module")
def images():
    """The shipped example images, sixty of which the network gets wrong: [x, y], of any mean and contrast."""
    rng = np.random.default_rng(0)
    standard = load_examples("best_cnn6_examples").images.float()
    gain, offset = rng.uniform(0.05, 20, len(standard)), rng.uniform(-3, 3, len(standard))
    return (standard + torch.as_tensor(offset)[:, None, None]).mul(torch.as_tensor(gain)[:, None, None]).float()


def library(model: nn.Module, images: torch.Tensor, temperature: float) -> np.ndarray:
    """Probabilities in float32: `training.predict` rounds to bfloat16 where the processor has it."""
    with torch.inference_mode():
        return softmax(model(standardise(images)[:, None]).numpy() / temperature, axis=1)


def run_onnx(model: nn.Module, images: torch.Tensor) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(export_network(model).SerializeToString(), options)
    return session.run(["logits"], {"image": images[:, None].numpy()})[0]


def read_asset(path) -> bytes:
    return gzip.decompress(base64.b64decode(path.read_text(encoding="ascii").split('"')[3]))


def test_the_graph_gives_the_librarys_probabilities(shipped, images):
    model, card = shipped
    found = softmax(run_onnx(model, images) / card["temperature"], axis=1)
    assert len(images) == 120
    assert np.abs(found - library(model, images, card["temperature"])).max() < TOLERANCE


@pytest.mark.parametrize("blocks", [4, 5, 6])
def test_any_plain_cnn_is_exported_even_with_negative_batch_normalisation(blocks):
    torch.manual_seed(blocks)
    model = PlainCNN(blocks).eval()
    for layer in model.features:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    images = torch.randn(3, 128, 128)
    with torch.inference_mode():
        expected = model(standardise(images)[:, None]).numpy()
    assert run_onnx(model, images) == pytest.approx(expected, abs=1e-3 * float(np.abs(expected).max()))


def test_an_image_without_contrast_gives_numbers(shipped):
    assert np.isfinite(run_onnx(shipped[0], torch.full((1, 128, 128), 7.0))).all()


def test_other_networks_and_incomplete_cards_are_refused(tmp_path):
    with pytest.raises(NanoshapeError, match="ResNet, but only a plain CNN"):
        export_network(build_model("resnet34"))
    save_weights(PlainCNN(4), {"architecture": "cnn4", "test_accuracy": 0.9}, tmp_path / "weights.safetensors")
    with pytest.raises(NanoshapeError, match="has no temperature and no profile;"):
        write_network(tmp_path, tmp_path / "weights.safetensors")
    assert not (tmp_path / "network.js").exists()


def test_assets_hold_the_network_and_what_the_page_says_of_it(page_folder, shipped):
    model, card = shipped
    assert read_asset(page_folder / "network.js") == export_network(model).SerializeToString()
    assert read_asset(page_folder / "runtime-wasm.js") == RUNTIME.read_bytes()
    shown = json.loads(read_asset(page_folder / "network-card.js"))
    assert shown["classes"] == [shape.title for shape in Shape]
    assert (shown["temperature"], shown["accuracy"]) == (card["temperature"], card["test_accuracy"])
    assert shown["profile"] == {"name": "paper", "summary": card["profile"]["summary"]}
    names = ("network", "network-card", "network-runtime", "runtime-wasm")
    assert sum((page_folder / f"{name}.js").stat().st_size for name in names) < 8.5e6


def test_node_gives_the_librarys_probabilities(page_folder, shipped, images):
    model, card = shipped
    script = f"""
        import {{ readFileSync, writeFileSync }} from "node:fs";
        import {{ createClassifier }} from "{(javascript.SOURCES / "io" / "classifier.js").as_uri()}";
        import {{ startNetwork }} from "{(javascript.SOURCES / "io" / "onnx-runtime.js").as_uri()}";
        const [wasm, network, pixels] = process.argv.slice(1).map((path) => readFileSync(path));
        const card = {{ temperature: {card["temperature"]} }};
        const classifier = await createClassifier(startNetwork, wasm, network, card);
        const data = new Float32Array(Uint8Array.from(pixels).buffer);
        for (let i = 0; i < data.length; i += 16384) {{
            console.log(JSON.stringify([...(await classifier.classify(data.slice(i, i + 16384)))]));
        }}"""
    (page_folder / "network.onnx").write_bytes(read_asset(page_folder / "network.js"))
    (page_folder / "pixels").write_bytes(images.numpy().tobytes())
    files = [str(RUNTIME), str(page_folder / "network.onnx"), str(page_folder / "pixels")]
    command = [javascript.node_program("node"), "--input-type=module", "-e", script, "--", *files]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=javascript.BOOK)
    found = np.array([json.loads(line) for line in result.stdout.splitlines()])
    assert np.abs(found - library(model, images, card["temperature"])).max() < TOLERANCE


def visit(browser, folder, before=""):
    """The page, opened from the disk; what it asks for and complains of."""
    requests, complaints = [], []
    tab = browser.new_page()
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.add_init_script(before)
    tab.goto((folder / "modules.html").as_uri())
    return tab, requests, complaints


@pytest.mark.slow
def test_the_browser_gives_the_librarys_probabilities_from_the_disk(page_folder, shipped, images, browser):
    model, card = shipped
    tab, requests, complaints = visit(browser, page_folder)
    found = tab.evaluate(CLASSIFY, base64.b64encode(images.numpy().tobytes()).decode())
    tab.close()
    assert np.abs(np.array(found["answers"]) - library(model, images, card["temperature"])).max() < TOLERANCE
    assert found["card"]["classes"] == [shape.title for shape in Shape]
    names = ["modules.html", "modules.js", "network-runtime.js", "runtime-wasm.js", "network.js", "network-card.js"]
    assert sorted(requests) == sorted((page_folder / name).as_uri() for name in names)
    assert complaints == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("network-runtime.js", None, "The file network-runtime.js is missing beside this page."),
        ("network-runtime.js", "(() => {", "The file network-runtime.js beside this page is damaged."),
        ("runtime-wasm.js", None, "The file runtime-wasm.js is missing beside this page."),
        ("network.js", 'nanoshapeAsset("network","AAAA");', "The file network.js beside this page is damaged."),
        ("network-card.js", None, "The file network-card.js is missing beside this page."),
    ],
)
def test_a_missing_or_damaged_file_gives_one_sentence_and_can_be_mended(page_folder, browser, name, content, sentence):
    whole = (page_folder / name).read_bytes()
    (page_folder / name).unlink()
    if content is not None:
        (page_folder / name).write_text(content, encoding="ascii")
    tab, _, _ = visit(browser, page_folder)
    assert tab.evaluate(REASON) == sentence
    (page_folder / name).write_bytes(whole)
    assert tab.evaluate(REASON) == "loaded"
    tab.close()


@pytest.mark.slow
def test_a_network_of_other_content_gives_one_sentence(page_folder, browser):
    whole = (page_folder / "network.js").read_bytes()
    packed = base64.b64encode(gzip.compress(b"no network")).decode()
    (page_folder / "network.js").write_text(f'nanoshapeAsset("network","{packed}");', encoding="ascii")
    tab, _, _ = visit(browser, page_folder)
    assert tab.evaluate(REASON).startswith("The classifier does not start: its files beside this page are damaged")
    (page_folder / "network.js").write_bytes(whole)
    tab.close()


@pytest.mark.slow
def test_a_browser_without_webassembly_says_so(page_folder, browser):
    tab, requests, _ = visit(browser, page_folder, before="delete globalThis.WebAssembly;")
    assert tab.evaluate(REASON).startswith("The classifier needs WebAssembly")
    assert len(requests) == 2, "nothing is loaded in vain"
    tab.close()


def read_in_node(files):
    """What readImage gives for files: a list of dictionaries, pixels as base64."""
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ readImage }} from "{(javascript.SOURCES / "io" / "image-files.js").as_uri()}";
        for (const name of process.argv.slice(1)) {{
            const image = await readImage(Object.assign(new Blob([readFileSync(name)]), {{ name }}));
            const pixels = Buffer.from(image.pixels.buffer).toString("base64");
            console.log(JSON.stringify({{ ...image, pixels }}));
        }}"""
    command = [javascript.node_program("node"), "--input-type=module", "-e", script, "--", *map(str, files)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=javascript.BOOK)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.usefixtures("javascript")
def test_files_of_other_programs_are_read(tmp_path):
    rng = np.random.default_rng(0)
    whole = rng.poisson(900, (90, 130)).astype(np.uint16)
    floats, signed = rng.normal(3, 1, whole.shape).astype(np.float32), (whole.astype(np.int16) - 1000)
    written = {
        "plain.tif": (whole, {}),
        "differences.tif": (whole, {"compression": "zlib", "predictor": 2}),
        "tiles.tif": (whole, {"tile": (32, 48), "compression": "zlib"}),
        "motorola.tif": (floats, {"byteorder": ">", "rowsperstrip": 7}),
        "signed.tif": (signed, {}),
        "imagej.tif": (floats, {"imagej": True, "resolution": (40.0, 40.0), "metadata": {"unit": "nm"}}),
    }
    for name, (values, options) in written.items():
        tifffile.imwrite(tmp_path / name, values, **options)
    Image.fromarray(whole).save(tmp_path / "libtiff.tif", compression="tiff_lzw")
    Image.fromarray(whole).save(tmp_path / "deep.png")
    bright = (whole % 256).astype(np.uint8)
    Image.fromarray(bright).convert("P").save(tmp_path / "palette.png")
    values = [each for each, _ in written.values()] + [whole, whole, bright]
    found = read_in_node([tmp_path / name for name in [*written, "libtiff.tif", "deep.png", "palette.png"]])
    for expected, image in zip(values, found, strict=True):
        pixels = np.frombuffer(base64.b64decode(image["pixels"]), np.float32).reshape(expected.shape)
        assert (pixels == expected.astype(np.float32)).all()
    assert found[list(written).index("imagej.tif")]["pixelSize_A"] == pytest.approx(0.25)


@pytest.mark.slow
def test_a_dropped_image_is_classified_as_the_library_does(page_folder, shipped, images, browser, tmp_path):
    model, card = shipped
    chosen = images[-2:].numpy()
    low, high = chosen.min(axis=(1, 2), keepdims=True), chosen.max(axis=(1, 2), keepdims=True)
    counts = np.rint((chosen - low) / (high - low) * 60_000).astype(np.uint16)
    expected = library(model, torch.as_tensor(counts.astype(np.float32)), card["temperature"])
    Image.fromarray(counts[0]).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", counts[1], imagej=True, resolution=(10.0, 10.0), metadata={"unit": "nm"})
    tab, requests, complaints = visit(browser, page_folder)
    for row, (name, size) in enumerate({"a.png": 1.0, "b.tif": None}.items()):
        content = base64.b64encode((tmp_path / name).read_bytes()).decode()
        found = np.array(tab.evaluate(DROP, [content, name, size]))
        assert np.abs(found - expected[row]).max() < TOLERANCE, name
    refused = tab.evaluate("page.readImage(new File(['shape'], 'x.png')).catch(error => error.message)")
    assert refused == "x.png is neither a PNG nor a TIFF image."
    assert all(url.startswith("file:") for url in requests) and complaints == []
    tab.close()
