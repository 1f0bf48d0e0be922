"""What several rules recognize and write: layers, affine maps, upsampling, clamps, layouts."""
