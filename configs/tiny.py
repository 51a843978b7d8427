from configs.mnist_vae import get_config as parent
def get_config():
    c = parent()
    c.game.network = dict(name="vae", widths=(16,32), blocks=(1,1), hidden=128, dense_blocks=1)
    c.train.images=20000
    return c
