//! Each expectation was compared with `docker inspect --format` and `docker ps --format`.

use super::*;

fn render(template: &str, json: &str) -> Result<String, String> {
    let data = Value::from_json(json.as_bytes()).expect("the test's data is JSON");
    Template::parse(template)?.execute(
        &data,
        Rules {
            missing_key_is_error: true,
            ..Rules::default()
        },
    )
}

const DATA: &str = r#"{"Id":"abc","N":3,"F":0.5,"T":true,"S":{"Status":"up","Code":0},
    "L":["b","a"],"M":{"y":1,"x":"two"},"P":{"80/tcp":[{"HostPort":"8080"}]},"E":[],"Z":null}"#;

#[test]
fn renders_what_users_write() {
    let cases = [
        ("{{.Id}}", "abc"),
        ("{{ .S.Status }}/{{.S.Code}}", "up/0"),
        ("{{json .S}}", r#"{"Status":"up","Code":0}"#),
        ("{{.S | json}}", r#"{"Status":"up","Code":0}"#),
        ("{{range .L}}<{{.}}>{{end}}", "<b><a>"),
        ("{{range $i, $e := .L}}{{$i}}={{$e}};{{end}}", "0=b;1=a;"),
        ("{{range $k, $v := .M}}{{$k}}:{{$v}} {{end}}", "x:two y:1 "),
        ("{{range .E}}x{{else}}none{{end}}", "none"),
        ("{{if .T}}yes{{else}}no{{end}}", "yes"),
        ("{{if eq .N 1}}a{{else if eq .N 3}}b{{else}}c{{end}}", "b"),
        ("{{with .S}}{{.Status}}{{end}}", "up"),
        ("{{with .Z}}x{{else}}nil{{end}}", "nil"),
        ("{{(index (index .P \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{(index .P \"80/tcp\" 0).HostPort}}", "8080"),
        ("{{index .L 1}}", "a"),
        ("{{len .L}} {{len .Id}}", "2 3"),
        ("{{join .L \",\"}}", "b,a"),
        ("{{range split \"a-b\" \"-\"}}[{{.}}]{{end}}", "[a][b]"),
        ("{{upper .Id}}{{lower \"AB\"}}{{title \"a b\"}}", "ABCabA B"),
        ("{{pad .Id 1 2}}|{{truncate .Id 2}}", " abc  |ab"),
        (
            "{{printf \"%5d|%-4s|%q|%v|%.1f\" .N .Id .Id .T .F}}",
            "    3|abc |\"abc\"|true|0.5",
        ),
        ("{{println .Id .N}}", "abc 3\n"),
        ("{{print 1 2 \"a\" 3}}", "1 2a3"),
        ("{{and .T .Id}}{{or .Z .Id}}{{not .T}}", "abcabcfalse"),
        ("{{$x := .Id}}{{$x}}{{$x = \"n\"}}{{$x}}", "abcn"),
        ("a {{- .Id -}} b", "aabcb"),
        ("{{/* nothing */}}x", "x"),
        ("{{`raw\\n`}}", "raw\\n"),
        ("{{slice .Id 1}}{{slice .Id 0 2}}", "bcab"),
        ("{{.L}} {{.M}}", "[b a] map[x:two y:1]"),
        ("{{.Z}}", "<no value>"),
        (
            "{{range .L}}{{if eq . \"a\"}}{{break}}{{end}}{{.}}{{end}}",
            "b",
        ),
        ("{{range .L}}{{$.Id}}{{end}}", "abcabc"),
        (
            "{{eq .Id \"x\" \"abc\"}} {{ne .N 3}} {{lt .N 4}} {{ge .F 0.5}}",
            "true false true true",
        ),
        ("{{range 2}}{{.}}{{end}}", "01"),
    ];
    for (template, expected) in cases {
        assert_eq!(
            render(template, DATA).as_deref(),
            Ok(expected),
            "{template}"
        );
    }
}

#[test]
fn errors_read_like_gos() {
    let cases = [
        (
            "{{.Foo}}",
            "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"",
        ),
        (
            "x\n{{.S.Foo}}",
            "template: :2:4: executing \"\" at <.S.Foo>: map has no entry for key \"Foo\"",
        ),
        (
            "{{nosuch .Id}}",
            "template: :1: function \"nosuch\" not defined",
        ),
        ("{{.Id", "template: :1: unclosed action"),
        ("{{if .T}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{$x}}", "template: :1: undefined variable \"$x\""),
        ("{{}}", "template: :1: missing value for command"),
        ("{{\"a}}", "template: :1: unterminated quoted string"),
        ("{{(.Id}}", "template: :1: unclosed left paren"),
        (
            "{{.Id.X}}",
            "template: :1:5: executing \"\" at <.Id.X>: can't evaluate field X in type interface {}",
        ),
        (
            "{{index .L 5}}",
            "template: :1:2: executing \"\" at <index .L 5>: error calling index: index out of range: 5",
        ),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
    ];
    for (template, expected) in cases {
        assert_eq!(
            render(template, DATA),
            Err(expected.to_owned()),
            "{template}"
        );
    }
}

#[test]
fn no_text_makes_it_panic() {
    let alphabet = [
        "{{", "}}", ".", "a", "$", "(", ")", "|", "\"", "if ", "end", "range ", "1", " ", "-",
        ":=", "é", "\\", "index",
    ];
    let mut state = 1_u32;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..8 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(alphabet[(state >> 16) as usize % alphabet.len()]);
        }
        let _ = render(&text, DATA);
    }
}
