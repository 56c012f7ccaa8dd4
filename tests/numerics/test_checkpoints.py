"""Parameters come back bit for bit, or it is told why not."""

import io
import zipfile

import numpy as np
import pytest

from rlhf_lab.models import lm
from rlhf_lab.models.gpt import GPT
from rlhf_lab.numerics import checkpoints

MODEL = GPT(5, width=4, layers=2, heads=2, context=6)
PARAMS = MODEL.init(np.random.default_rng(0))


@pytest.fixture
def path(tmp_path):
    checkpoints.save(tmp_path / "p.npz", PARAMS)
    return tmp_path / "p.npz"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_saved_is_loaded(tmp_path, dtype):
    model = GPT(5, width=4, layers=2, heads=2, context=6, dtype=dtype)
    params = model.init(np.random.default_rng(1))
    checkpoints.save(tmp_path / "p.npz", params)
    found = checkpoints.load(tmp_path / "p.npz", model.init(np.random.default_rng(2)))
    assert list(found) == list(params)
    for name, value in params.items():
        assert found[name].dtype == dtype
        assert (found[name] == value).all()
    text = np.array([[1, 2, 0]])
    assert (lm.log_prob(model, found, text, text) == lm.log_prob(model, params, text, text)).all()
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def test_numpy_reads_the_file_without_us(path):
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) == set(PARAMS)
        assert (archive["1.up"] == PARAMS["1.up"]).all()


def test_nothing_is_overwritten_unless_asked(path):
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        checkpoints.save(path, PARAMS)
    assert path.read_bytes() == before
    checkpoints.save(path, PARAMS | {"norm": PARAMS["norm"] * 2}, overwrite=True)
    assert (checkpoints.load(path, PARAMS)["norm"] == 2).all()


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.full(4, np.nan, dtype=np.float32), ValueError, r"params\['norm'\] has 4 entries that are NaN or infinite"),
        (np.ones(4, dtype=int), TypeError, r"params\['norm'\] must be an array of floating-point numbers; got int"),
        (np.array([object()]), TypeError, r"params\['norm'\] must be an array of floating-point numbers; got object"),
    ],
)
def test_what_is_no_number_is_refused_and_the_old_file_stays(path, bad, error, message):
    before = path.read_bytes()
    with pytest.raises(error, match=message):
        checkpoints.save(path, PARAMS | {"norm": bad}, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["p.npz"]


def test_a_writer_that_fails_half_way_leaves_the_old_file(path, monkeypatch):
    before, write, done = path.read_bytes(), np.lib.format.write_array, []

    def failing(file, value, **settings):
        if done:
            raise OSError("no space left on device")
        done.append(write(file, value, **settings))

    monkeypatch.setattr(np.lib.format, "write_array", failing)
    with pytest.raises(OSError, match="no space left"):
        checkpoints.save(path, PARAMS, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["p.npz"]


def test_another_kind_of_file_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"parameters are saved as .npz; got p.pkl"):
        checkpoints.save(tmp_path / "p.pkl", PARAMS)


def test_a_damaged_file_is_told(path):
    whole = path.read_bytes()
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"p.npz is damaged, or no file of parameters: make it again"):
            checkpoints.load(path, PARAMS)
    for place in range(40, len(whole), 997):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            found = checkpoints.load(path, PARAMS)
        except ValueError:
            continue
        assert all((found[name] == PARAMS[name]).all() for name in PARAMS)  # the flipped byte meant nothing


def test_pickles_and_single_arrays_are_refused(path):
    np.savez(path, **(PARAMS | {"norm": np.array([{"a": 1}])}))
    with pytest.raises(ValueError, match="is damaged, or no file of parameters"):
        checkpoints.load(path, PARAMS)
    buffer = io.BytesIO()
    np.save(buffer, PARAMS["norm"])
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="is damaged, or no file of parameters"):
        checkpoints.load(path, PARAMS)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoints.load(tmp_path / "p.npz", PARAMS)


def test_missing_and_extra_arrays_are_told(path):
    fewer = {name: value for name, value in PARAMS.items() if name != "1.up"}
    with pytest.raises(ValueError, match=r"p.npz has an extra array '1.up': it belongs to another model"):
        checkpoints.load(path, fewer)
    with pytest.raises(ValueError, match=r"p.npz has no array 'value': it belongs to another model"):
        checkpoints.load(path, PARAMS | {"value": np.zeros(4)})


def test_another_size_or_precision_is_told(path):
    wider = GPT(5, width=8, layers=2, heads=2, context=6).init(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"'embed' is float32 of shape \(5, 4\), the model wants float32 .* \(5, 8\)"):
        checkpoints.load(path, wider)
    with pytest.raises(ValueError, match=r"is float32 of shape .*, the model wants float64"):
        checkpoints.load(path, {name: value.astype(float) for name, value in PARAMS.items()})


def test_numbers_that_are_none_are_told(path):
    np.savez(path, **(PARAMS | {"norm": np.full(4, np.inf, dtype=np.float32)}))
    with pytest.raises(ValueError, match=r"params\['norm'\] has 4 entries that are NaN or infinite"):
        checkpoints.load(path, PARAMS)


def test_each_array_has_a_checksum_and_may_have_more_than_two_gibibytes(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {part.extract_version for part in archive.infolist()} == {45}, "sizes of 64 bits came with version 4.5"
