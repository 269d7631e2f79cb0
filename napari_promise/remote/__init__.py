"""The image encoder on other computers, or in other processes: dask.distributed.

Only the encoder travels: pixels there, a float16 embedding back. dask is imported
when something is to travel, and without the extra ``remote`` all else works.
"""
