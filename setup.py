"""Packaging of espnet2_bspmpnet: what is installed, and why."""

from pathlib import Path

from setuptools import find_packages, setup

REQUIREMENTS = [
    # The toolkit: tasks, trainer and model files. 202611 is the first release for
    # Python 3.12 and 3.13 that goes with torch 2.11, 202511 the last for 3.10 and 3.11.
    "espnet>=202611,<202612; python_version>='3.12'",
    "espnet>=202511,<202512; python_version<'3.12'",
    # The newest pair that both ESPnet releases take; torchaudio has to match torch.
    "torch>=2.11,<2.12",
    "torchaudio>=2.11,<2.12",
    # WavLM, Data2Vec and others. s3prl itself breaks with torchaudio 2.9 and newer;
    # this fork, which is imported as s3prl too, does not.
    "espnet-s3prl>=2026.5.14",
    # Downloads released SSL weights into the cache that all its users share, over
    "huggingface_hub>=2.4,<3",
    # whose errors are reported in words that help.
    "httpx2>=2.0,<3",
    # The format that transformers writes weights in, and of the feature cache's files.
    "safetensors>=0.4.3",
    # Loads packed models; before 0.1.8 it could corrupt their config, but the fixed
    # releases need Python 3.12.
    "espnet_model_zoo>=0.1.11; python_version>='3.12'",
    "espnet_model_zoo>=0.1.7; python_version<'3.12'",
    # Audio files: torchaudio's own reader needs TorchCodec since 2.9.
    "soundfile>=0.12.1",
    # Changes the sample rate.
    "soxr>=0.3.7",
    # Arrays between files, metrics and network; ESPnet needs 2.0 as well.
    "numpy>=2.0",
    # Filters of the synthesised corpus, and what the measures compute.
    "scipy>=1.13",
    # ESPnet's configuration files.
    "pyyaml>=6.0",
    # The report's page.
    "jinja2>=3.1",
    # Progress bars.
    "tqdm>=4.64",
    # Reads Kaldi archives that a user's data directory may name.
    "kaldiio>=2.18",
    # PESQ, the measure that chooses the best model; compiled while installing.
    "pesq>=0.0.4",
    # STOI and ESTOI.
    "pystoi>=0.4.1",
    # Microsoft's networks for DNSMOS (11 MB), without the runtime that it calls,
    "speechmos>=0.0.1.1",
    # what reads their files,
    "onnx>=1.16",
    # what computes them three times as fast as that runtime (docs/dnsmos.md),
    "numba>=0.61",
    # and the mel bands that one of them was trained with.
    "librosa>=0.10.2",
    # ESPnet's time-domain criteria import it.
    "ci_sdr>=0.0.2",
    # SI-SNR: ESPnet's criterion of that name imports it.
    "fast_bss_eval>=0.1.3",
    # ESPnet's own enh_scoring imports it, which bin/enh_scoring.py offers.
    "mir_eval>=0.7",
    # Word error rates; ESPnet's recipes call sclite, which is no Python package.
    "jiwer>=4.0",
    # ESPnet's trainer writes event files for it,
    "tensorboard>=2.16",
    # and plots of every logged value; the report's figures are made with it, too,
    "matplotlib>=3.8",
    # and with this reduced to a third of their size.
    "pillow>=10.0",
]

EXTRAS = {
    # Runs tests/, on all cores, which compare the SSL models with transformers' of the same
    # weights, and DNSMOS with what speechmos computes by means of onnxruntime.
    "test": [
        "pytest>=8.0",
        "pytest-xdist>=3.6",
        # Style, and which wing may import which; both are part of the tests.
        "ruff>=0.14",
        "import-linter>=2.5",
        "transformers>=5.20",
        "onnxruntime>=1.18",
    ],
    # The speech synthesiser behind the mini recipe's corpus; brings its own library.
    "mini": ["espeakng-loader>=0.2.4"],
    # Rooms for generating WHAMR! from WSJ0; 0.10 is the first for numpy 2.5.
    "whamr": ["pyroomacoustics>=0.10"],
    # ESPnet3 trains by Lightning and infers by Dask's workers, even by one of them.
    "espnet3": [
        "lightning>=2.6; python_version>='3.12'",
        "dask[distributed]>=2026.8; python_version>='3.12'",
        "dask-jobqueue>=0.9; python_version>='3.12'",
    ],
}

setup(
    name="espnet2_bspmpnet",
    version="0.1.0",
    description="BSP-MPNet speech enhancement as an ESPnet2 plug-in",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="the espnet2_bspmpnet authors",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["espnet2_bspmpnet", "espnet2_bspmpnet.*"]),
    package_data={
        "espnet2_bspmpnet": [
            "box/*",
            "plugin/_site/*.py",
            "report/*.html",
            "jobs/slurm_job.sh",
            "sharing/model_card.md.jinja",
        ]
    },
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "bspmpnet=espnet2_bspmpnet.cli:main",
            "bspmpnet-run=espnet2_bspmpnet.jobs.local:main",
            "bspmpnet-slurm=espnet2_bspmpnet.jobs.slurm:main",
            "bspmpnet-python=espnet2_bspmpnet.plugin.python_launcher:main",
        ]
    },
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
    ],
)
