"""The small latent diffusion model this repository trains and ships; see MODEL_CARD.md."""
