"""What runs an exported file: ONNX Runtime, TorchScript or torch.export, behind one protocol."""

import os

# ONNX Runtime for Linux reports to Microsoft since 1.29, keeps an identifier in the user's cache for it, and
# has a thread from its import on (microsoft/onnxruntime#27379). It reads this once, when it is loaded, so it
# must be set before any module here imports it; what the user has set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
