import BTF
import Testing

@testable import Skep

/// JSON, and how it stands for bytes with types.
@Suite struct RunValueTests {
  // MARK: JSON

  @Test(arguments: [
    ("null", "null"), (" true ", "true"), ("[1, 2 ,3]", "[1,2,3]"),
    ("-9223372036854775808", "-9223372036854775808"),
    ("18446744073709551615", "18446744073709551615"), ("0x1F", "31"),
    ("\"a\\u00e9\\n\\ud83d\\ude00\"", "\"aé\\n😀\""),
    ("{\"a\":{\"b\":[]},\"c\":1.5}", "{\"a\":{\"b\":[]},\"c\":1.5}"), ("1e3", "1000.0"),
  ])
  func reading(_ text: String, _ expected: String) throws {
    #expect(try JSONValue(parsing: text).compactText == expected)
  }

  @Test(arguments: [
    ("", "line 1, column 1: the text ends where a value is expected"),
    ("hello", "line 1, column 1: a value is expected"),
    ("[1,\n 2", "line 2, column 3: ',' or ']' is expected"),
    ("{a:1}", "line 1, column 2: a name in quotation marks is expected"),
    ("{\"a\" 1}", "line 1, column 6: ':' is expected"),
    ("1 2", "line 1, column 3: nothing more may follow"),
    ("01", "line 1, column 1: a number is expected"),
    ("99999999999999999999", "line 1, column 1: the number is too large"),
    ("\"abc", "line 1, column 5: the text ends inside of a string"),
    ("\"\\x\"", "line 1, column 3: '\\' is followed by no known letter"),
  ])
  func notJSON(_ text: String, _ message: String) {
    do {
      _ = try JSONValue(parsing: text)
      Issue.record("read: \(text)")
    } catch {
      #expect(error.description == "not JSON: \(message)")
    }
  }

  @Test func deepTextsEndEarly() {
    #expect(throws: JSONError.self) { try JSONValue(parsing: String(repeating: "[", count: 100_000)) }
  }

  // MARK: Types

  private struct Types {
    var btf: BTF
    var u8, i32, u64, flow, kind, names, section: TypeID

    init() throws {
      var builder = BTFBuilder()
      u8 = builder.addInt("unsigned char", size: 1)
      let character = builder.addInt("char", size: 1, isSigned: true)
      i32 = builder.addInt("int", size: 4, isSigned: true)
      let u32 = builder.addInt("unsigned int", size: 4)
      u64 = builder.addInt("unsigned long long", size: 8)
      kind = builder.addEnum("kind", [("NONE", 0), ("SOME", 7)])
      names = builder.addArray(of: character, index: u32, count: 8)
      let bytes = builder.addArray(of: u8, index: u32, count: 4)
      let inner = builder.addUnion(
        "", size: 4, members: [.init("word", u32, bitOffset: 0), .init("bytes", bytes, bitOffset: 0)])
      flow = builder.addStruct(
        "flow", size: 24,
        members: [
          .init("name", names, bitOffset: 0), .init("", inner, bitOffset: 64), .init("kind", kind, bitOffset: 96),
          .init("low", u32, bitOffset: 128, bitfieldSize: 5), .init("high", i32, bitOffset: 133, bitfieldSize: 11),
          .init("last", u8, bitOffset: 160),
        ])
      let count = builder.addVariable("count", u64)
      let limit = builder.addVariable("limit", i32)
      section = builder.addDataSection(
        ".data", size: 16,
        [.init(typeID: count, offset: 0, size: 8), .init(typeID: limit, offset: 8, size: 4)])
      btf = try builder.build()
    }
  }

  @Test func structuresThereAndBack() throws {
    let types = try Types()
    let type = ValueType(size: 24, btf: types.btf, type: types.flow)
    #expect(type.isKnown)
    let value = try JSONValue(
      parsing: #"{"name":"eth0","bytes":[1,2,3,4],"kind":"SOME","low":17,"high":-3,"last":255}"#)
    let bytes = try type.bytes(value)
    #expect(
      bytes == [
        0x65, 0x74, 0x68, 0x30, 0, 0, 0, 0, 1, 2, 3, 4, 7, 0, 0, 0, 0xb1, 0xff, 0, 0, 255, 0, 0, 0,
      ])
    #expect(
      type.json(bytes).compactText
        == #"{"name":"eth0","":{"word":67305985,"bytes":[1,2,3,4]},"kind":"SOME","low":17,"high":-3,"last":255}"#)
    #expect(try type.bytes(type.json(bytes)) == bytes)
  }

  @Test func numbersMustFit() throws {
    let types = try Types()
    let byte = ValueType(size: 1, btf: types.btf, type: types.u8)
    #expect(throws: TypedValueError("256 does not fit in 8 bits")) { try byte.bytes(.integer(256)) }
    let word = ValueType(size: 4, btf: types.btf, type: types.i32)
    #expect(try word.bytes(.integer(-1)) == [255, 255, 255, 255])
    #expect(try word.bytes(.string("0x10")) == [16, 0, 0, 0])
    #expect(throws: TypedValueError("-2147483649 does not fit in 32 bits")) { try word.bytes(.integer(-2_147_483_649)) }
    let flow = ValueType(size: 24, btf: types.btf, type: types.flow)
    #expect(throws: TypedValueError("32 does not fit in 5 bits", path: ".low")) {
      try flow.bytes(.object([.init("low", .integer(32))]))
    }
    #expect(throws: TypedValueError("there is no such member", path: ".none")) {
      try flow.bytes(.object([.init("none", .integer(32))]))
    }
    #expect(throws: TypedValueError("'OTHER' is no constant of the enumeration", path: ".kind")) {
      try flow.bytes(.object([.init("kind", .string("OTHER"))]))
    }
    #expect(throws: TypedValueError("5 elements, where there are 4", path: ".bytes")) {
      try flow.bytes(JSONValue(parsing: #"{"bytes":[1,2,3,4,5]}"#))
    }
  }

  @Test func bytesWithoutAType() throws {
    let type = ValueType(size: 4)
    #expect(!type.isKnown)
    #expect(type.json([1, 0xff, 0, 16]).compactText == #"["0x01","0xff","0x00","0x10"]"#)
    #expect(try type.bytes(type.json([1, 0xff, 0, 16])) == [1, 0xff, 0, 16])
    #expect(try type.bytes(.string("0a 0b 0c 0d")) == [10, 11, 12, 13])
    #expect(try type.bytes(.integer(258)) == [2, 1, 0, 0])
    #expect(throws: TypedValueError("3 bytes, where 4 are expected")) { try type.bytes(.string("010203")) }
    #expect(throws: TypedValueError("'xyz' is no string of hexadecimal digits, two for each byte")) {
      try type.bytes(.string("xyz"))
    }
  }

  @Test func sectionsOfVariables() throws {
    let types = try Types()
    let type = ValueType(size: 16, btf: types.btf, type: types.section)
    let bytes = try type.bytes(JSONValue(parsing: #"{"limit": -2, "count": 3}"#))
    #expect(bytes == [3, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0])
    #expect(type.json(bytes).compactText == #"{".data":[{"count":3},{"limit":-2}]}"#)
    #expect(try type.bytes(type.json(bytes)) == bytes)
  }

  @Test func typesOfAnotherSizeAreNotBelieved() throws {
    let types = try Types()
    #expect(!ValueType(size: 8, btf: types.btf, type: types.flow).isKnown)
  }
}
