"""The sampling rate that BSP-MPNet works at."""

SAMPLE_RATE = 16000  # Hz (Section IV-C)
