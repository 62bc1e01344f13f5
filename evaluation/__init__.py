import atexit
import gc

# PyTorch and diffusers make half a million objects that last as long as the process. To look for garbage among them
# after every few hundred new ones, and again at exit, costs seconds at every start. (Not in stylegallery, which other
# programs import.)
if threshold := gc.get_threshold()[0]:  # 0 switches the collector off
    gc.set_threshold(max(10_000, threshold))
atexit.register(gc.freeze)
