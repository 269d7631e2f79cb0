# The server of docs/remote.md: encodes images for other computers, and has no network
# but the port it listens on. Torch finds a GPU where the container is given one.
#
#   docker build -t napari-promise .
#   docker run --gpus all -p 8786:8786 -v napari-promise:/home/promise napari-promise
FROM python:3.12-slim

RUN useradd --create-home promise
WORKDIR /src
COPY setup.cfg pyproject.toml README.md LICENSE MANIFEST.in ./
COPY napari_promise napari_promise
RUN pip install --no-cache-dir ".[remote,litemedsam]" && rm -rf /src

USER promise
WORKDIR /home/promise
# Weights and certificates lie in the volume, so that they outlive the container.
VOLUME /home/promise
EXPOSE 8786
ENTRYPOINT ["napari-promise"]
CMD ["serve", "--host", "0.0.0.0"]
