"""What happens to photographs before one gets them: blur, resizes, noise and JPEG, on the device, in pure functions.

Images are float32 [B,H,W,C] in [0,1]; each of a batch draws its own random numbers.
"""
