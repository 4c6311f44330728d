# docker build -t unskew . && docker run -p 8000:8000 -v "$PWD/runs/demo:/bundle:ro" unskew
# On a GPU: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 -t unskew:gpu . and run --gpus all
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir torch --index-url "$TORCH_INDEX"
COPY . /source
RUN pip install --no-cache-dir "/source[serve]" && rm -r /source && useradd --create-home unskew
USER unskew
EXPOSE 8000
ENTRYPOINT ["unskew", "serve", "--host", "0.0.0.0", "--model", "/bundle"]
