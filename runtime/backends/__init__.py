"""What runs an exported file: ONNX Runtime, TorchScript or torch.export, behind one protocol."""
