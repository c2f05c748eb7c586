from stand_ins import bench, key_folder, recipe, source, tiny_base

__all__ = ["bench", "key_folder", "recipe", "source", "tiny_base"]
