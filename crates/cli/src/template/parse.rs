//! Tokens into a tree.

use super::TemplateError;
use super::funcs;
use super::lex::Token;

/// A piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Literal text.
    Text(String),
    /// `{{pipeline}}`: prints, unless it only sets variables.
    Action(Pipeline),
    /// `{{if}} .. {{else}} .. {{end}}`
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `{{with}}`: as `if`, with the dot set.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `{{range}}`
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `{{break}}`
    Break,
    /// `{{continue}}`
    Continue,
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    /// Variables that take the result (two only in `range`).
    pub(super) variables: Vec<String>,
    /// The variables are declared (`:=`), not set (`=`).
    pub(super) declares: bool,
    /// At least one.
    pub(super) commands: Vec<Vec<Operand>>,
}

/// One word of a command.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// `.`, `.A.B`
    Dot(Vec<String>),
    /// `$x`, `$x.A.B`
    Variable(String, Vec<String>),
    /// A function by name.
    Function(String),
    /// `(pipeline)`, `(pipeline).A`
    Group(Pipeline, Vec<String>),
    /// A literal.
    Literal(serde_json::Value),
}

/// Builds the tree of a whole template.
pub(super) fn parse(tokens: Vec<Token>) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), range_depth: 0 };
    let (nodes, end) = parser.nodes()?;
    match end {
        Stop::Eof => Ok(nodes),
        Stop::End => Err(unexpected("{{end}}")),
        Stop::Else(_) => Err(unexpected("{{else}}")),
    }
}

fn unexpected(what: &str) -> TemplateError {
    TemplateError(format!("unexpected {what}"))
}

/// What ended a list of nodes.
enum Stop {
    Eof,
    End,
    /// `{{else}}`, with what follows for `{{else if ..}}`.
    Else(Option<String>),
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    range_depth: usize,
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(token) = self.tokens.next() {
            match token {
                Token::Text(text) => nodes.push(Node::Text(text)),
                Token::Open => match self.keyword().as_deref() {
                    Some("end") => {
                        self.close()?;
                        return Ok((nodes, Stop::End));
                    }
                    Some("else") => {
                        let next = self.keyword();
                        if next.is_none() {
                            self.close()?;
                        }
                        return Ok((nodes, Stop::Else(next)));
                    }
                    Some("break") if self.range_depth > 0 => {
                        self.close()?;
                        nodes.push(Node::Break);
                    }
                    Some("continue") if self.range_depth > 0 => {
                        self.close()?;
                        nodes.push(Node::Continue);
                    }
                    Some(word @ ("if" | "with" | "range")) => nodes.push(self.control(word)?),
                    Some(word) => return Err(unexpected(&format!("{{{{{word}}}}}"))),
                    None => {
                        let pipeline = self.pipeline()?;
                        self.close()?;
                        nodes.push(Node::Action(pipeline));
                    }
                },
                other => return Err(unexpected(&format!("{other:?}"))),
            }
        }
        Ok((nodes, Stop::Eof))
    }

    /// `if`, `with` or `range`, whose word is read already, up to its `{{end}}`.
    fn control(&mut self, word: &str) -> Result<Node, TemplateError> {
        let pipeline = self.pipeline()?;
        self.close()?;
        self.range_depth += usize::from(word == "range");
        let (body, end) = self.nodes()?;
        self.range_depth -= usize::from(word == "range");
        let other = match end {
            Stop::Eof => return Err(unexpected("EOF")),
            Stop::End => Vec::new(),
            // `{{else if x}}` shares the one `{{end}}` of the whole chain.
            Stop::Else(Some(next)) if next == word && word != "range" => vec![self.control(word)?],
            Stop::Else(Some(next)) => return Err(unexpected(&format!("<{next}> in else"))),
            Stop::Else(None) => match self.nodes()? {
                (nodes, Stop::End) => nodes,
                (_, Stop::Eof) => return Err(unexpected("EOF")),
                (_, Stop::Else(_)) => return Err(unexpected("{{else}}")),
            },
        };
        Ok(match word {
            "if" => Node::If(pipeline, body, other),
            "with" => Node::With(pipeline, body, other),
            _ => Node::Range(pipeline, body, other),
        })
    }

    /// Takes the next token if it is a keyword.
    fn keyword(&mut self) -> Option<String> {
        const KEYWORDS: [&str; 10] = [
            "if", "else", "end", "range", "with", "break", "continue", "define", "template",
            "block",
        ];
        let is_keyword =
            |token: &Token| matches!(token, Token::Word(word) if KEYWORDS.contains(&word.as_str()));
        match self.tokens.next_if(is_keyword) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn close(&mut self) -> Result<(), TemplateError> {
        match self.tokens.next() {
            Some(Token::Close) => Ok(()),
            Some(token) => Err(unexpected(&format!("{token:?} in command"))),
            None => Err(unexpected("EOF")),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, TemplateError> {
        let (variables, declares) = self.declaration();
        let mut commands = vec![self.command()?];
        while self.tokens.next_if_eq(&Token::Sign('|')).is_some() {
            commands.push(self.command()?);
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$x :=`, `$k, $v :=` or `$x =`, if the tokens begin so.
    fn declaration(&mut self) -> (Vec<String>, bool) {
        let mut ahead = self.tokens.clone();
        let mut variables = Vec::new();
        while let Some(Token::Variable(name)) = ahead.next() {
            variables.push(name);
            match ahead.next() {
                Some(Token::Sign(',')) if variables.len() == 1 => {}
                Some(sign @ (Token::Declare | Token::Assign)) => {
                    self.tokens = ahead;
                    return (variables, sign == Token::Declare);
                }
                _ => break,
            }
        }
        (Vec::new(), false)
    }

    fn command(&mut self) -> Result<Vec<Operand>, TemplateError> {
        let mut words = Vec::new();
        loop {
            let operand = match self.tokens.peek() {
                None => return Err(unexpected("EOF")),
                Some(Token::Close | Token::Sign('|' | ')')) => break,
                Some(_) => self.operand()?,
            };
            words.push(operand);
        }
        if words.is_empty() {
            Err(TemplateError("missing value for command".into()))
        } else {
            Ok(words)
        }
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        let Some(token) = self.tokens.next() else { return Err(unexpected("EOF")) };
        Ok(match token {
            Token::Dot => Operand::Dot(Vec::new()),
            Token::Field(name, _) => {
                let mut path = vec![name];
                path.append(&mut self.path());
                Operand::Dot(path)
            }
            Token::Variable(name) => Operand::Variable(name, self.path()),
            Token::Sign('(') => {
                let inner = self.pipeline()?;
                if self.tokens.next() != Some(Token::Sign(')')) {
                    return Err(TemplateError("unclosed left paren".into()));
                }
                Operand::Group(inner, self.path())
            }
            Token::Quoted(text) => Operand::Literal(text.into()),
            Token::Int(int) => Operand::Literal(int.into()),
            Token::Float(float) => Operand::Literal(float.into()),
            Token::Word(word) => match word.as_str() {
                "true" => Operand::Literal(true.into()),
                "false" => Operand::Literal(false.into()),
                "nil" => Operand::Literal(serde_json::Value::Null),
                _ if funcs::exists(&word) => Operand::Function(word),
                _ => return Err(TemplateError(format!("function {word:?} not defined"))),
            },
            other => return Err(unexpected(&format!("{other:?} in operand"))),
        })
    }

    /// `.A.B` directly behind an operand.
    fn path(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(Token::Field(name, _)) =
            self.tokens.next_if(|token| matches!(token, Token::Field(_, false)))
        {
            path.push(name);
        }
        path
    }
}
