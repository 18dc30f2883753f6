"""What an upstream would open is found wherever it stands; what it only reads is not."""

import pytest

from gateway.wire.fetched import fetched_in


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [{"content": [{}, {"image_url": "http://a"}]}]}, "input[0].content[1].image_url"),
        ({"input": [{"content": [{"image_url": {"url": "HTTPS://a"}}]}]}, "input[0].content[0].image_url.url"),
        ({"input": [{"content": [{"image_url": ["http://a"]}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"content": [{"file_url": "file:///etc/passwd"}]}]}, "input[0].content[0].file_url"),
        ({"input": [{"output": {"image_url": "http://a"}}]}, "input[0].output.image_url"),
        ({"input": [{"output": [{"file_url": "http://a"}]}]}, "input[0].output[0].file_url"),
        ({"input": [{"outputs": [{"type": "image", "url": "http://a"}]}]}, "input[0].outputs[0].url"),
        ({"tools": [{}, {"input_image_mask": {"image_url": "http://a"}}]}, "tools[1].input_image_mask.image_url"),
        ({"input": [{"tools": [{"mask": {"image_url": "a"}}]}]}, "input[0].tools[0].mask.image_url"),
        ({"image_url": "http://a"}, "image_url"), ({"new": {"Video_URL": "http://a"}}, "new.Video_URL"),
        ({"new": [{"sound_uri": "x"}]}, "new[0].sound_uri"), ({"input": [{"url": "http://a"}]}, "input[0].url"),
        ({"input": [{"server_url": "http://a"}]}, "input[0].server_url"),
        ({"input": [{"content": [{"image_url": [[["http://a"]]]}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"content": [{"file_data": " HTTP://a"}]}]}, "input[0].content[0].file_data"),
        ({"input": [{"content": [{"file_id": "gs://a"}]}]}, "input[0].content[0].file_id"),
        ({"x": [{"data": "\u0001ht\ttp:/a"}, {}]}, "x[0].data"), ({"image": "\ufeffhttp:\\a"}, "image"),
        ({"x": {"video": ["s3://a"], "data": "x"}}, "x.video"), ({"x": {"audio": {"data": "file:/a"}}}, "x.audio.data"),
        ({"input": [{"type": "image_generation_call", "result": "https://a"}]}, "input[0].result"),
    ],
)  # fmt: skip
def test_an_address_is_found(body, param):
    assert list(fetched_in(body)) == [param]


@pytest.mark.parametrize(
    "body",
    [
        {"input": [{"content": [{"file_data": "//uQxAAA", "filename": "http://a", "file_id": "file-1"}]}]},
        {"input": [{"data": "Result: 5 // see http://a"}, {"type": "program_output", "result": "http://a"}]},
        {"input": [{"content": [{"file_data": "data:application/pdf;base64,AAAA", "text": "http://a"}]}]},
        {"input": [{"type": "web_search_call", "results": [{"url": "http://a"}]}]},
        {"input": "http://a"}, {"input": [{"content": [{"image_url": " DATA:image/png;base64,AAAA"}]}]},
        {"input": [{"content": [{"image_url": None, "file_url": None}]}]},
        {"input": [{"content": [{"image_url": {"url": "data:,", "detail": "low"}}]}]},
        {"input": [{"action": {"type": "open_page", "url": "http://a", "sources": [{"url": "http://a"}]}}]},
        {"input": [{"content": [{"annotations": [{"type": "url_citation", "url": "http://a"}]}]}]},
        {"tools": [{"type": "mcp", "server_url": "http://a"}], "metadata": {"image_url": "http://a"}},
        {"tools": [{"parameters": {"properties": {"image_url": {"type": "string", "url": "x"}}}}]},
    ],
)  # fmt: skip
def test_what_is_not_opened_is_none(body):
    assert list(fetched_in(body)) == []
