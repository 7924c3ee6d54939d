//! The rules, where they come from, and what is expected of them.

/// A rule of somebody else.
pub(crate) struct Case {
    pub(crate) product: &'static str,
    pub(crate) page: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) now: Now,
    /// What to know, in words of ours.
    pub(crate) why: &'static str,
    /// Topics and payloads.
    pub(crate) given: &'static [(&'static str, &'static str)],
    pub(crate) expect: &'static [&'static str],
}

/// What becomes of it here.
#[derive(Clone, Copy)]
pub(crate) enum Now {
    AsIs,
    Changed(&'static str),
    No,
}

const EMQX: &str = "https://docs.emqx.com/en/emqx/latest/data-integration/rule-sql-syntax.html";
const WINDOWS: &str = "https://ekuiper.org/docs/en/latest/sqls/windows.html";
const ANALYTIC: &str = "https://ekuiper.org/docs/en/latest/sqls/functions/analytic_functions.html";
const MERGE: &str = "https://ekuiper.org/docs/en/latest/example/data_merge/merge_single_stream.html";
const SELECT: &str = "https://docs.aws.amazon.com/iot/latest/developerguide/iot-sql-select.html";
const WHERE: &str = "https://docs.aws.amazon.com/iot/latest/developerguide/iot-sql-where.html";
const FROM: &str = "https://docs.aws.amazon.com/iot/latest/developerguide/iot-sql-from.html";
const CASE: &str = "https://docs.aws.amazon.com/iot/latest/developerguide/iot-sql-case.html";
const NESTED: &str = "https://docs.aws.amazon.com/iot/latest/developerguide/iot-sql-nested-queries.html";

const fn emqx(
    sql: &'static str,
    now: Now,
    why: &'static str,
    given: &'static [(&'static str, &'static str)],
    expect: &'static [&'static str],
) -> Case {
    Case { product: "EMQX", page: EMQX, sql, now, why, given, expect }
}

const fn ekuiper(
    page: &'static str,
    sql: &'static str,
    now: Now,
    why: &'static str,
    given: &'static [(&'static str, &'static str)],
    expect: &'static [&'static str],
) -> Case {
    Case { product: "eKuiper", page, sql, now, why, given, expect }
}

const fn aws(
    page: &'static str,
    sql: &'static str,
    now: Now,
    why: &'static str,
    given: &'static [(&'static str, &'static str)],
    expect: &'static [&'static str],
) -> Case {
    Case { product: "AWS IoT", page, sql, now, why, given, expect }
}

const TEMPERATURES: &[(&str, &str)] = &[
    ("demo", r#"{"ID":1,"temperature":21}"#),
    ("demo", r#"{"ID":1,"temperature":19}"#),
    ("demo", r#"{"ID":1,"temperature":22}"#),
];

const CHANGES: &[(&str, &str)] = &[
    ("demo", r#"{"ts":1,"temperature":23,"humidity":88}"#),
    ("demo", r#"{"ts":2,"temperature":23,"humidity":88}"#),
    ("demo", r#"{"ts":3,"temperature":25,"humidity":88}"#),
    ("demo", r#"{"ts":4,"temperature":25,"humidity":90}"#),
];

const COLOR: &[(&str, &str)] = &[("a/b", r#"{"color":"red","temperature":50}"#)];

/// All of them, by product.
pub(crate) const CASES: &[Case] = &[
    emqx(
        "SELECT clientid, payload.clientid as myclientid FROM \"t/#\", \"my/other/topic\"",
        Now::AsIs,
        "`payload.` before a field is accepted, and bare `clientid` is the publisher's.",
        &[("t/1", r#"{"clientid":"mine"}"#), ("my/other/topic", "{}"), ("u", "{}")],
        &[r#"{"clientid":"c1","myclientid":"mine"}"#, r#"{"clientid":"c1","myclientid":null}"#],
    ),
    emqx(
        "SELECT * FROM \"t/#\" WHERE username = 'eric'",
        Now::AsIs,
        "What goes on is the payload as it is, without the metadata that EMQX adds.",
        &[("t/1", r#"{"a":1}"#)],
        &[r#"{"a":1}"#],
    ),
    emqx(
        "SELECT (upper(clientid) + '_UPPERCASE_LETTERS') as cid FROM \"t/#\"",
        Now::Changed("SELECT (upper(clientid) || '_UPPERCASE_LETTERS') as cid FROM \"t/#\""),
        "texts are joined by `||` or `concat`; `+` is for numbers.",
        &[("t/1", "{}")],
        &[r#"{"cid":"C1_UPPERCASE_LETTERS"}"#],
    ),
    emqx(
        "SELECT (payload.integer_field + 2) * 2 as num FROM \"t/#\"",
        Now::AsIs,
        "",
        &[("t/1", r#"{"integer_field":3}"#)],
        &[r#"{"num":10}"#],
    ),
    emqx(
        "SELECT payload.a.b.c.deep as my_field FROM \"t/#\"",
        Now::AsIs,
        "",
        &[("t/1", r#"{"a":{"b":{"c":{"deep":true}}}}"#), ("t/1", "{}")],
        &[r#"{"my_field":true}"#, r#"{"my_field":null}"#],
    ),
    emqx(
        "SELECT * FROM \"t/#\" WHERE payload.x.y = 1",
        Now::AsIs,
        "",
        &[("t/1", r#"{"x":{"y":1}}"#), ("t/1", r#"{"x":1}"#)],
        &[r#"{"x":{"y":1}}"#],
    ),
    emqx(
        "SELECT CASE WHEN payload.x < 0 THEN 0 WHEN payload.x > 7 THEN 7 ELSE payload.x END as x FROM \"t/#\"",
        Now::AsIs,
        "",
        &[("t/1", r#"{"x":8}"#), ("t/1", r#"{"x":3}"#)],
        &[r#"{"x":7}"#, r#"{"x":3}"#],
    ),
    emqx(
        "SELECT qos, username, clientid FROM \"t/#\"",
        Now::AsIs,
        "Fields of the payload with these names are `payload.qos` and so on.",
        &[("t/1", "{}")],
        &[r#"{"qos":1,"username":"eric","clientid":"c1"}"#],
    ),
    emqx(
        "SELECT pub_props.'User-Property'.foo as foo FROM \"t/#\"",
        Now::Changed("SELECT user_property('foo') as foo FROM \"t/#\""),
        "user properties are asked for by function.",
        &[("t/1", "{}")],
        &[r#"{"foo":"bar"}"#],
    ),
    emqx(
        "FOREACH payload.sensors as sensor DO clientid, sensor.name as name INCASE sensor.idx >= 1 FROM \"t/#\"",
        Now::No,
        "a rule makes one output of an event; there is no FOREACH.",
        &[],
        &[],
    ),
    ekuiper(
        WINDOWS,
        "SELECT count(*) FROM demo GROUP BY ID, TUMBLINGWINDOW(ss, 10)",
        Now::Changed("SELECT count(*) FROM 'demo' GROUP BY ID, TUMBLINGWINDOW(ss, 10)"),
        "a topic stands in quotes. The result is called `count`.",
        TEMPERATURES,
        &[r#"{"count":3}"#],
    ),
    ekuiper(
        WINDOWS,
        "SELECT count(*) FROM demo GROUP BY ID, HOPPINGWINDOW(ss, 10, 5)",
        Now::Changed("SELECT count(*) FROM 'demo' GROUP BY ID, HOPPINGWINDOW(ss, 10, 5)"),
        "a topic stands in quotes.",
        TEMPERATURES,
        &[r#"{"count":3}"#, r#"{"count":3}"#],
    ),
    ekuiper(
        WINDOWS,
        "SELECT count(*) FROM demo GROUP BY ID, SLIDINGWINDOW(mi, 1)",
        Now::Changed("SELECT count(*) FROM 'demo' GROUP BY ID, SLIDINGWINDOW(mi, 1)"),
        "a topic stands in quotes.",
        TEMPERATURES,
        &[r#"{"count":1}"#, r#"{"count":2}"#, r#"{"count":3}"#],
    ),
    ekuiper(
        WINDOWS,
        "SELECT count(*) FROM demo GROUP BY ID, SESSIONWINDOW(mi, 2, 1)",
        Now::Changed("SELECT count(*) FROM 'demo' GROUP BY ID, SESSIONWINDOW(mi, 2, 1)"),
        "a topic stands in quotes. The longest duration counts from the first event of the session.",
        TEMPERATURES,
        &[r#"{"count":3}"#],
    ),
    ekuiper(
        WINDOWS,
        "SELECT * FROM demo WHERE temperature > 20 GROUP BY COUNTWINDOW(5)",
        Now::No,
        "a window gives one row of aggregates; `collect(temperature)` gives the values. WHERE is looked at before the count.",
        &[],
        &[],
    ),
    ekuiper(
        ANALYTIC,
        "SELECT ts, temperature, humidity FROM demo WHERE HAD_CHANGED(true, temperature, humidity) = true",
        Now::Changed("SELECT ts, temperature, humidity FROM 'demo' WHERE changed_any(temperature, humidity)"),
        "the function is `changed_any`, and NULL is never a change.",
        CHANGES,
        &[
            r#"{"ts":1,"temperature":23,"humidity":88}"#,
            r#"{"ts":3,"temperature":25,"humidity":88}"#,
            r#"{"ts":4,"temperature":25,"humidity":90}"#,
        ],
    ),
    ekuiper(
        ANALYTIC,
        "SELECT ts, temperature, humidity FROM demo WHERE CHANGED_COL(true, temperature) > 24",
        Now::Changed(
            "SELECT ts, temperature, humidity FROM 'demo' WHERE changed(temperature) AND temperature > 24",
        ),
        "`changed` says whether, not what.",
        CHANGES,
        &[r#"{"ts":3,"temperature":25,"humidity":88}"#],
    ),
    ekuiper(
        ANALYTIC,
        "SELECT lag(temperature) OVER (PARTITION BY deviceId) AS before FROM demo",
        Now::Changed("SELECT lag(temperature) OVER (PARTITION BY deviceId) AS before FROM 'demo'"),
        "a topic stands in quotes.",
        &[
            ("demo", r#"{"deviceId":"a","temperature":1}"#),
            ("demo", r#"{"deviceId":"b","temperature":2}"#),
            ("demo", r#"{"deviceId":"a","temperature":3}"#),
        ],
        &[r#"{"before":null}"#, r#"{"before":null}"#, r#"{"before":1}"#],
    ),
    ekuiper(
        MERGE,
        "SELECT temperature, latest(humidity, 0) as humidity, ts FROM demoStream WHERE isNull(temperature) = false",
        Now::Changed(
            "SELECT temperature, latest(humidity, 0) as humidity, ts FROM 'demoStream' WHERE isNull(temperature) = false",
        ),
        "a topic stands in quotes. `latest` sees each event of the topic, also those that WHERE drops.",
        &[
            ("demoStream", r#"{"temperature":20,"ts":1}"#),
            ("demoStream", r#"{"humidity":80,"ts":2}"#),
            ("demoStream", r#"{"temperature":21,"ts":3}"#),
        ],
        &[r#"{"temperature":20,"humidity":0,"ts":1}"#, r#"{"temperature":21,"humidity":80,"ts":3}"#],
    ),
    ekuiper(
        MERGE,
        "SELECT avg(temperature) as temperature, avg(humidity) as humidity, window_end() as ts FROM demoStream GROUP BY TUMBLINGWINDOW(ms, 500)",
        Now::Changed(
            "SELECT avg(temperature) as temperature, avg(humidity) as humidity, window_end() as ts FROM 'demoStream' GROUP BY TUMBLINGWINDOW(ms, 500)",
        ),
        "a topic stands in quotes. For event time write `time = { field = \"ts\" }` beside the SQL.",
        &[
            ("demoStream", r#"{"temperature":20}"#),
            ("demoStream", r#"{"humidity":80}"#),
            ("demoStream", r#"{"temperature":22}"#),
        ],
        &[r#"{"temperature":21.0,"humidity":80.0,"ts":1700000000500}"#],
    ),
    aws(
        SELECT,
        "SELECT * FROM 'a/b'",
        Now::AsIs,
        "Also for payloads that are no JSON.",
        &[("a/b", "\u{e9}")],
        &["\u{e9}"],
    ),
    aws(
        SELECT,
        "SELECT color as my_color, temperature as fahrenheit FROM 'a/b'",
        Now::AsIs,
        "",
        COLOR,
        &[r#"{"my_color":"red","fahrenheit":50}"#],
    ),
    aws(
        SELECT,
        "SELECT *, 15 as speed FROM 'a/b'",
        Now::AsIs,
        "",
        COLOR,
        &[r#"{"color":"red","temperature":50,"speed":15}"#],
    ),
    aws(
        SELECT,
        "SELECT color.red as red_value FROM 'a/b'",
        Now::AsIs,
        "",
        &[("a/b", r#"{"color":{"red":255,"green":0},"temperature":50}"#)],
        &[r#"{"red_value":255}"#],
    ),
    aws(
        SELECT,
        "SELECT (temperature - 32) * 5 / 9 AS celsius, upper(color) as my_color FROM 'a/b'",
        Now::AsIs,
        "Division gives a float.",
        COLOR,
        &[r#"{"celsius":10.0,"my_color":"RED"}"#],
    ),
    aws(
        SELECT,
        "SELECT encode(*, 'base64') AS data, timestamp() AS ts FROM 'a/b'",
        Now::Changed("SELECT base64(raw_payload()) AS data, timestamp() AS ts FROM 'a/b'"),
        "the payload as bytes is `raw_payload()`.",
        &[("a/b", "\u{1}\u{2}")],
        &[r#"{"data":"AQI=","ts":1700000000100}"#],
    ),
    aws(
        WHERE,
        "SELECT color AS my_color FROM 'a/b' WHERE temperature > 50 AND color <> 'red'",
        Now::AsIs,
        "",
        &[("a/b", r#"{"color":"red","temperature":60}"#), ("a/b", r#"{"color":"blue","temperature":60}"#)],
        &[r#"{"my_color":"blue"}"#],
    ),
    aws(
        FROM,
        "SELECT temperature AS t FROM 'a/#'",
        Now::AsIs,
        "",
        &[
            ("a/b", r#"{"temperature":50}"#),
            ("a/e/f", r#"{"temperature":70}"#),
            ("b/x", r#"{"temperature":80}"#),
        ],
        &[r#"{"t":50}"#, r#"{"t":70}"#],
    ),
    aws(
        CASE,
        "SELECT CASE color WHEN 'green' THEN 'go' WHEN 'yellow' THEN 'caution' WHEN 'red' THEN 'stop' ELSE 'you are not at a stop light' END as instructions FROM 'a/b'",
        Now::AsIs,
        "",
        &[("a/b", r#"{"color":"yellow"}"#)],
        &[r#"{"instructions":"caution"}"#],
    ),
    aws(
        NESTED,
        "SELECT (SELECT VALUE n FROM e) as sensors FROM 'my/topic'",
        Now::No,
        "there are no queries inside an expression; `e[0].n` reaches one element.",
        &[],
        &[],
    ),
];
