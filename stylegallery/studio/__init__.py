"""The studio: a page on which a region of a photo is told whose style it takes. `python -m stylegallery.studio`."""
