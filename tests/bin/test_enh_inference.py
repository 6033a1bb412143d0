"""Our enh_inference gives what ESPnet's SeparateSpeech does, and resumes."""

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.bin.enh_inference import main
from espnet2_bspmpnet.data.datadir import read_scp
from tests.networks import save_model, speech_like

MODEL = "valid.loss.best.pth"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A small model, and three noisy files of which one has another rate."""
    folder = tmp_path_factory.mktemp("exp")
    save_model(folder)
    lines = []
    for number, rate in enumerate((16000, 8000, 16000)):
        path = folder / f"u{number}.wav"
        wave, _ = speech_like(8000 + 500 * number, seed=number)
        soundfile.write(path, wave[0].numpy(), rate)
        lines.append(f"u{number} {path}\n")
    (folder / "wav.scp").write_text("".join(lines))
    return folder


@pytest.fixture
def enhance(experiment, tmp_path):
    """Return a function that enhances the list into tmp_path/output."""

    def enhance(*words):
        main([
            "--train_config", str(experiment / "config.yaml"),
            "--model_file", str(experiment / MODEL),
            "--data_path_and_name_and_type",
            f"{experiment / 'wav.scp'},speech_mix,sound",
            "--output_dir", str(tmp_path / "output"), "--fs", "16k", *words,
        ])  # fmt: skip

    return enhance


def test_the_samples_are_those_of_separate_speech_and_bad_files_are_named_at_the_end(
    enhance, experiment, tmp_path
):
    from espnet2.bin.enh_inference import SeparateSpeech

    with pytest.raises(
        SystemExit, match="1 of 3 failed, the others are done:\n.*u1.wav"
    ):
        enhance()
    enhanced = read_scp(tmp_path / "output/spk1.scp")
    assert list(enhanced) == list(read_scp(tmp_path / "output/utt2seconds"))
    assert list(enhanced) == ["u0", "u2"]
    separate = SeparateSpeech(experiment / "config.yaml", experiment / MODEL)
    for key, path in enhanced.items():
        noisy, _ = soundfile.read(experiment / f"{key}.wav", dtype="float32")
        ((expected,),) = separate(noisy[None], fs=16000)
        written, _ = soundfile.read(path)
        assert np.abs(written - expected).max() <= 1 / 32768


def test_a_job_that_is_started_again_enhances_what_is_missing(
    enhance, experiment, tmp_path
):
    (tmp_path / "first.scp").write_text(f"u0 {experiment}/u0.wav\n")
    (tmp_path / "both.scp").write_text(
        f"u0 {experiment}/u0.wav\nu2 {experiment}/u2.wav\n"
    )
    enhance("--key_file", str(tmp_path / "first.scp"), "--resume", "true")
    for _ in range(2):  # then nothing is missing
        enhance("--key_file", str(tmp_path / "both.scp"), "--resume", "true")
        assert list(read_scp(tmp_path / "output/spk1.scp")) == ["u2"]
        assert list(read_scp(tmp_path / "output.before/spk1.scp"))[0] == "u0"


def test_a_missing_model_is_one_line(enhance):
    with pytest.raises(
        SystemExit, match="^enh_inference: error: --model_file: nowhere"
    ):
        enhance("--model_file", "nowhere")
