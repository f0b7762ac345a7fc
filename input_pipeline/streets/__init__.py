"""A renderer of street scenes in NumPy: the data set Streets, without TensorFlow.

    rng, noise                     random numbers and patterns, the same on every machine
    camera, solids, raster         geometry: what does every ray see?
    street, layout                 the ground: lanes, kerbs, strips
    people, vehicles, surroundings, weather, scene     what is in a scene
    textures, ground, light        the image
    labels, render                 the labels; everything together
    workers, preview               all CPU cores; contact sheets

Labels are decided by integers and by + − × ÷ √ of float64 only, which IEEE 754 fixes to the last
bit: no BLAS, no trigonometric functions, no sums whose order may vary.
"""
